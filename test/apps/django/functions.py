"""Prints calls of Django's own SQLite functions with their results, one JSON array a line: [name, arguments, result]."""
import json
import random
import sys

from django.conf import settings

settings.configure(USE_TZ=True)

from django.db.backends.sqlite3 import _functions as f  # noqa: E402

NAMES = {
    "django_date_extract": f._sqlite_datetime_extract,
    "django_date_trunc": f._sqlite_date_trunc,
    "django_datetime_cast_date": f._sqlite_datetime_cast_date,
    "django_datetime_cast_time": f._sqlite_datetime_cast_time,
    "django_datetime_extract": f._sqlite_datetime_extract,
    "django_datetime_trunc": f._sqlite_datetime_trunc,
    "django_time_extract": f._sqlite_time_extract,
    "django_time_trunc": f._sqlite_time_trunc,
    "regexp": f._sqlite_regexp,
    "MD5": f._sqlite_md5,
    "SHA1": f._sqlite_sha1,
    "SHA256": f._sqlite_sha256,
    "REVERSE": f._sqlite_reverse,
    "REPEAT": f._sqlite_repeat,
    "LPAD": f._sqlite_lpad,
    "RPAD": f._sqlite_rpad,
}
DATE_PARTS = ["year", "iso_year", "quarter", "month", "week", "week_day", "iso_week_day", "day"]
TIME_PARTS = ["hour", "minute", "second"]
ZONES = ["UTC", "Europe/Paris", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "UTC+03:00", "Europe/Paris-05:30"]
PATTERNS = [r"^[A-Z]+$", r"\d{2,}", r"(?i)abc", r"^\w+@\w+\.\w+\Z", r"(?P<a>.)(?P=a)", r"é", r"[^ a-c]$", r"a|b$", r"\Aab?"]
draw = random.Random(int(sys.argv[2]))
pick = draw.choice


def text():
    return pick([None, "", *["".join(pick("abcABC12 é\n@.😀") for _ in range(draw.randrange(9))) for _ in range(20)]])


def date():
    return "%04d-%02d-%02d" % (pick([1, 4, 1582, 1970, 2000, 2024, 9998, draw.randrange(1, 9999)]), draw.randrange(1, 13), draw.randrange(1, 32))


def time():
    seconds = pick(["%02d" % draw.randrange(60), "59.999999", "07.5", "00.000001", "1.1234567"])
    return "%02d:%02d:%s" % (draw.randrange(25), draw.randrange(60), seconds)


def stamp():
    return f"{date()} {time()}{pick(['', '', '+00:00', '-05'])}"


def call(name):
    if name == "regexp":
        return [pick(PATTERNS), pick([text(), text(), 7, 12])]
    if name in ("LPAD", "RPAD"):
        return [text(), draw.randrange(12), pick(["x", "yz", " "])]
    if name == "REPEAT":
        return [text(), draw.randrange(4)]
    if name in ("MD5", "SHA1", "SHA256", "REVERSE"):
        return [text()]
    if name == "django_time_extract":
        return [pick(TIME_PARTS), pick([None, time(), time(), "no time"])]
    zone = [pick(ZONES), "UTC"] if draw.random() < 0.6 else [None, None]
    if name == "django_time_trunc":
        return [pick(TIME_PARTS), pick([time(), stamp()]), *(zone if draw.random() < 0.5 else [None, None])]
    if name == "django_date_extract":
        return [pick(DATE_PARTS), pick([None, date(), date(), stamp(), "no date", "2024-02-30"])]
    if name == "django_date_trunc":
        return [pick(["year", "quarter", "month", "week", "day"]), pick([date(), stamp()]), None, None]
    if name.startswith("django_datetime_cast"):
        return [pick([None, stamp(), stamp()]), *zone]
    parts = DATE_PARTS + TIME_PARTS if "extract" in name else ["year", "quarter", "month", "week", "day", *TIME_PARTS]
    return [pick(parts), pick([None, stamp(), stamp(), stamp(), "2024-02-30 00:00:00"]), *zone]


count = int(sys.argv[1])
while count > 0:
    name = pick(list(NAMES))
    arguments = call(name)
    try:
        result = NAMES[name](*arguments)
    except (AttributeError, IndexError, OverflowError, TypeError, ValueError):
        continue  # SQLite reports an error there
    count -= 1
    print(json.dumps([name, arguments, result]))
