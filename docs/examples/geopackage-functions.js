/**
 * The functions that the triggers of a GeoPackage's spatial index call: ST_IsEmpty, ST_MinX, ST_MaxX, ST_MinY and ST_MaxY of
 * a geometry as the GeoPackage standard stores it. For `marmot run --functions geopackage-functions.js`.
 */
const HEADER = 8;
/** Bytes of the envelope by its kind in the header's flags. */
const ENVELOPES = [0, 32, 48, 48, 64];
const POINT = 1;
const LINE = 2;
const POLYGON = 3;

/** Calls `see` with x and y of every point of a well-known binary at `at`. Returns its end. */
function walk(view, at, see) {
  const little = view.getUint8(at) === 1;
  const code = view.getUint32(at + 1, little);
  const isExtended = code >= 0x20000000;
  const kind = isExtended ? code & 0xff : code % 1000;
  const more = isExtended
    ? (code >>> 30) - ((code >>> 31) & (code >>> 30) & 1)
    : [0, 1, 1, 2][Math.floor(code / 1000)];
  const width = 8 * (2 + more);
  let end = at + 5 + (isExtended && (code & 0x20000000) !== 0 ? 4 : 0);
  const count = () => view.getUint32((end += 4) - 4, little);
  const points = (number) => {
    for (let i = 0; i < number; i++, end += width)
      see(view.getFloat64(end, little), view.getFloat64(end + 8, little));
  };
  if (kind === POINT) points(1);
  else if (kind === LINE) points(count());
  else if (kind === POLYGON) for (let rings = count(); rings > 0; rings--) points(count());
  else for (let parts = count(); parts > 0; parts--) end = walk(view, end, see);
  return end;
}

/** The bounds of a geometry; "empty"; null: it is none. */
function boundsOf(value) {
  if (!(value instanceof Uint8Array) || value.length < HEADER || value[0] !== 0x47 || value[1] !== 0x50)
    return null;
  const view = new DataView(value.buffer, value.byteOffset, value.byteLength);
  const flags = value[3];
  const envelope = ENVELOPES[(flags >> 1) & 7];
  if (envelope === undefined || value.length < HEADER + envelope) return null;
  if ((flags & 16) !== 0) return "empty";
  if (envelope > 0) {
    const [minX, maxX, minY, maxY] = [0, 8, 16, 24].map((at) =>
      view.getFloat64(HEADER + at, (flags & 1) === 1),
    );
    return { minX, maxX, minY, maxY };
  }
  const bounds = { minX: Infinity, maxX: -Infinity, minY: Infinity, maxY: -Infinity };
  try {
    walk(view, HEADER, (x, y) => {
      if (Number.isNaN(x) || Number.isNaN(y)) return;
      bounds.minX = Math.min(bounds.minX, x);
      bounds.maxX = Math.max(bounds.maxX, x);
      bounds.minY = Math.min(bounds.minY, y);
      bounds.maxY = Math.max(bounds.maxY, y);
    });
  } catch {
    return null; // it ends too early
  }
  return bounds.minX === Infinity ? "empty" : bounds;
}

const sideOf = (name) => (value) => {
  const bounds = boundsOf(value);
  return bounds === null || bounds === "empty" ? null : bounds[name];
};

export default {
  ST_IsEmpty(value) {
    const bounds = boundsOf(value);
    return bounds === null ? null : Number(bounds === "empty");
  },
  ST_MinX: sideOf("minX"),
  ST_MaxX: sideOf("maxX"),
  ST_MinY: sideOf("minY"),
  ST_MaxY: sideOf("maxY"),
};
