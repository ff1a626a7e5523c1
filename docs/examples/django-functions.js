/**
 * The functions that Django gives SQLite and that its models use in indexes, constraints and generated columns: REGEXP, parts
 * of dates and times, and text functions. For `marmot run --functions django-functions.js`.
 *
 * Python's regular expressions are not JavaScript's: (?P<name>…), \A and \Z are translated, other differences are not. Time
 * zones are those of the runtime's tz database.
 */
import { createHash } from "node:crypto";

const DATE = /^(\d{4})-(\d{1,2})-(\d{1,2})$/;
const TIME = /^(\d{1,2}):(\d{1,2}):(\d{1,2})(?:\.(\d{1,6})\d*)?$/;
const pad = (value, width = 2) => String(value).padStart(width, "0");
const isText = (value) => typeof value === "string";

/** Microseconds are kept beside the milliseconds of a Date: a value is the time of day and the day in no time zone. */
function timeOf(text) {
  const match = TIME.exec(text);
  if (match === null) return null;
  const [hour, minute, second] = [Number(match[1]), Number(match[2]), Number(match[3])];
  if (hour > 23 || minute > 59 || second > 59) return null;
  return { hour, minute, second, microsecond: Number((match[4] ?? "").padEnd(6, "0")) };
}

function dateOf(text) {
  const match = DATE.exec(text);
  if (match === null) return null;
  const [year, month, day] = match.slice(1).map(Number);
  const ms = Date.UTC(2000, month - 1, day);
  const date = new Date(ms);
  date.setUTCFullYear(year, month - 1, day);
  if (year < 1 || date.getUTCMonth() !== month - 1 || date.getUTCDate() !== day) return null;
  return { year, month, day };
}

/** As Django's typecast_timestamp reads it: "2024-02-29", or with a time, whose zone is ignored; null: no timestamp. */
function parse(text) {
  if (!isText(text) || text === "") return null;
  if (!text.includes(" ")) {
    const date = dateOf(text);
    return date === null ? null : { ...date, hour: 0, minute: 0, second: 0, microsecond: 0 };
  }
  const [day, clock, ...more] = text.trim().split(/\s+/);
  if (clock === undefined || more.length > 0) return null;
  const [date, time] = [dateOf(day), timeOf(clock.split(clock.includes("-") ? "-" : "+")[0])];
  return date === null || time === null ? null : { ...date, ...time };
}

function toMs({ year, month, day, hour, minute, second }) {
  const date = new Date(0);
  date.setUTCFullYear(year, month - 1, day);
  date.setUTCHours(hour, minute, second);
  return date.getTime();
}

function fromMs(ms, microsecond) {
  const date = new Date(ms);
  return {
    year: date.getUTCFullYear(),
    month: date.getUTCMonth() + 1,
    day: date.getUTCDate(),
    hour: date.getUTCHours(),
    minute: date.getUTCMinutes(),
    second: date.getUTCSeconds(),
    microsecond,
  };
}

const formats = new Map();

/** Milliseconds that the zone's clocks are ahead of UTC at a moment. */
function offsetAt(zone, ms) {
  if (zone === "UTC") return 0;
  let format = formats.get(zone);
  if (format === undefined) {
    const options = { timeZone: zone, hourCycle: "h23", era: "short" };
    for (const part of ["year", "month", "day", "hour", "minute", "second"]) options[part] = "numeric";
    formats.set(zone, (format = new Intl.DateTimeFormat("en-US", options)));
  }
  const parts = Object.fromEntries(format.formatToParts(ms).map(({ type, value }) => [type, value]));
  const local = { ...parts, microsecond: 0 };
  for (const part of ["year", "month", "day", "hour", "minute", "second"]) local[part] = Number(parts[part]);
  return toMs(local) - Math.floor(ms / 1000) * 1000;
}

/** The value in the zone `name` ("Europe/Paris", or with an offset: "UTC+03:00"), read in the connection's zone. */
function inZone(value, name, connection) {
  if (value === null || name === null || name === undefined || name === connection) return value;
  const match = /^(.*?)([+-])(\d{1,2}):(\d{2})$/.exec(name);
  const zone = match === null ? name : match[1] || connection;
  const wall = toMs(value);
  let ms = wall - offsetAt(connection ?? "UTC", wall - offsetAt(connection ?? "UTC", wall));
  if (match !== null) ms += (match[2] === "+" ? 1 : -1) * (Number(match[3]) * 60 + Number(match[4])) * 60_000;
  return fromMs(ms + offsetAt(zone, ms), value.microsecond);
}

const read = (text, zone, connection) => inZone(parse(text), zone, connection);

/** Days since the epoch, and the day of the week with Monday as 1. */
const dayOf = (value) => Math.floor(toMs(value) / 86_400_000);
const weekdayOf = (value) => ((((dayOf(value) + 3) % 7) + 7) % 7) + 1;

function isoWeek(value) {
  const thursday = fromMs((dayOf(value) - weekdayOf(value) + 4) * 86_400_000, 0);
  const first = dayOf({ ...thursday, month: 1, day: 1 });
  return { year: thursday.year, week: Math.floor((dayOf(thursday) - first) / 7) + 1 };
}

const PARTS = ["year", "month", "day", "hour", "minute", "second", "microsecond"];

function unsupported(part) {
  throw new Error(`Unsupported lookup type: '${part}'`);
}

function partOf(part, value) {
  if (value === null) return null;
  switch (part) {
    case "week_day":
      return (weekdayOf(value) % 7) + 1;
    case "iso_week_day":
      return weekdayOf(value);
    case "week":
      return isoWeek(value).week;
    case "iso_year":
      return isoWeek(value).year;
    case "quarter":
      return Math.ceil(value.month / 3);
    default:
      return PARTS.includes(part) ? value[part] : unsupported(part);
  }
}

const showDate = ({ year, month, day }) => `${pad(year, 4)}-${pad(month)}-${pad(day)}`;

function showTime({ hour, minute, second, microsecond }) {
  const time = `${pad(hour)}:${pad(minute)}:${pad(second)}`;
  return microsecond === 0 ? time : `${time}.${pad(microsecond, 6)}`;
}

function truncDate(part, value) {
  switch (part) {
    case "year":
      return showDate({ ...value, month: 1, day: 1 });
    case "quarter":
      return showDate({ ...value, month: value.month - ((value.month - 1) % 3), day: 1 });
    case "month":
      return showDate({ ...value, day: 1 });
    case "week":
      return showDate(fromMs((dayOf(value) - weekdayOf(value) + 1) * 86_400_000, 0));
    case "day":
      return showDate(value);
    default:
      return null;
  }
}

function truncTime(part, { hour, minute, second }) {
  switch (part) {
    case "hour":
      return `${pad(hour)}:00:00`;
    case "minute":
      return `${pad(hour)}:${pad(minute)}:00`;
    case "second":
      return `${pad(hour)}:${pad(minute)}:${pad(second)}`;
    default:
      return null;
  }
}

const patterns = new Map();

function patternOf(text) {
  let pattern = patterns.get(text);
  if (pattern === undefined) {
    const flags = /^\(\?([ims]+)\)/.exec(text);
    const source = (flags === null ? text : text.slice(flags[0].length))
      .replaceAll("(?P<", "(?<")
      .replaceAll(/\(\?P=(\w+)\)/g, "\\k<$1>")
      .replaceAll(/\\A/g, "(?<![^])")
      .replaceAll(/\\[Zz]/g, "(?![^])")
      // Python's $ also matches before a last newline.
      .replaceAll(/(?<!\\)\$(?![^[]*\])/g, "(?=\\n?(?![^]))");
    patterns.set(text, (pattern = new RegExp(source, `u${flags?.[1] ?? ""}`)));
  }
  return pattern;
}

const hashOf = (algorithm) => (text) =>
  text === null ? null : createHash(algorithm).update(String(text)).digest("hex");

export default {
  regexp(pattern, text) {
    if (pattern === null || text === null) return null;
    return patternOf(pattern).test(String(text));
  },
  django_date_extract: (part, text) => partOf(part, read(text)),
  django_datetime_extract: (part, text, zone, connection) => partOf(part, read(text, zone, connection)),
  django_date_trunc(part, text, zone, connection) {
    const value = read(text, zone, connection);
    return value === null ? null : (truncDate(part, value) ?? unsupported(part));
  },
  django_datetime_trunc(part, text, zone, connection) {
    const value = read(text, zone, connection);
    if (value === null) return null;
    const day = truncDate(part, value);
    if (day !== null) return `${day} 00:00:00`;
    return `${showDate(value)} ${truncTime(part, value) ?? unsupported(part)}`;
  },
  django_datetime_cast_date(text, zone, connection) {
    const value = read(text, zone, connection);
    return value === null ? null : showDate(value);
  },
  django_datetime_cast_time(text, zone, connection) {
    const value = read(text, zone, connection);
    return value === null ? null : showTime(value);
  },
  django_time_extract(part, text) {
    const value = isText(text) && text !== "" ? timeOf(text) : null;
    return value === null ? null : (value[part] ?? unsupported(part));
  },
  django_time_trunc(part, text, zone, connection) {
    const value = read(text, zone, connection) ?? (isText(text) && text !== "" ? timeOf(text) : null);
    return value === null ? null : (truncTime(part, value) ?? unsupported(part));
  },
  MD5: hashOf("md5"),
  SHA1: hashOf("sha1"),
  SHA224: hashOf("sha224"),
  SHA256: hashOf("sha256"),
  SHA384: hashOf("sha384"),
  SHA512: hashOf("sha512"),
  REVERSE: (text) => (text === null ? null : [...text].reverse().join("")),
  REPEAT: (text, count) => (text === null || count === null ? null : String(text).repeat(Math.max(0, count))),
  LPAD(text, length, fill) {
    if (text === null || length === null || fill === null) return null;
    const [have, filling] = [[...text], [...fill]];
    if (have.length >= length) return have.slice(0, Math.max(0, length)).join("");
    if (filling.length === 0) return text;
    return (
      Array.from({ length: length - have.length }, (_, i) => filling[i % filling.length]).join("") + text
    );
  },
  RPAD(text, length, fill) {
    if (text === null || length === null || fill === null) return null;
    const [have, filling] = [[...text], [...fill]];
    const added = filling.length === 0 ? 0 : Math.max(0, length - have.length);
    return have
      .concat(Array.from({ length: added }, (_, i) => filling[i % filling.length]))
      .slice(0, Math.max(0, length))
      .join("");
  },
};
