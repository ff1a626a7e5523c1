"""A GeoPackage of GDAL: features with geometry. INDEX=yes: with a spatial index."""
import os
import sqlite3

import numpy
import pyogrio
import pyogrio.raw

from verbs import main

ROWS = 30
INDEX = os.environ.get("INDEX", "no")
FIELDS = ("who", "n", "height")


def point(x, y):
    return b"\x01\x01\x00\x00\x00" + numpy.array([x, y], "<f8").tobytes()


def write(file, who, count, **options):
    geometry = numpy.array([point(i, -i) for i in range(count)], object)
    values = [numpy.array([who] * count, object), numpy.arange(count, dtype="i8"), numpy.arange(count) / 4]
    pyogrio.raw.write(
        file, geometry, values, fields=FIELDS, layer="places", driver="GPKG", geometry_type="Point", crs="EPSG:4326", **options
    )


def migrate(file):
    connection = sqlite3.connect(file, timeout=20)
    made = connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'places'").fetchone()
    connection.close()
    if made is None:
        # GDAL makes a GeoPackage of a file that has none of its tables yet.
        write(file, "first", 1, append=os.path.getsize(file) > 0, layer_options={"SPATIAL_INDEX": INDEX})


def fill(file, who):
    write(file, who, ROWS, append=True)
    return {"kept": ROWS}


def report(file):
    _, _, _, (who, n, height) = pyogrio.raw.read(file, layer="places", read_geometry=False)
    # Only whole features of the box: the index finds them where there is one.
    inside = pyogrio.raw.read(file, layer="places", bbox=(4.5, -9.5, 9.5, -4.5), columns=["n"])[3][0]
    rows = sorted(zip(who.tolist(), n.tolist(), height.tolist()))
    return {"kept": len(rows) - 1, "rows": rows, "inside": sorted(inside.tolist())}


def check(file):
    info = pyogrio.read_info(file, layer="places", force_feature_count=True)
    connection = sqlite3.connect(file)
    counted = connection.execute("SELECT count(*) FROM places").fetchone()[0]
    noted = connection.execute("SELECT feature_count FROM gpkg_ogr_contents WHERE table_name = 'places'").fetchone()
    assert info["features"] == counted and noted in (None, (None,), (counted,)), (info["features"], counted, noted)
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    if INDEX == "yes":
        indexed = connection.execute("SELECT count(*) FROM rtree_places_geom").fetchone()[0]
        assert indexed == counted, (indexed, counted)


main(migrate=migrate, fill=fill, report=report, check=check)
