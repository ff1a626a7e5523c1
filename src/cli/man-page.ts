/** The manual page of the command in roff, from the table of verbs. */
import { aboutOf, groupsOf, nameOf, specsOf } from "./help.ts";
import { environmentName } from "./options/options.ts";
import type { Verb } from "./verb.ts";

/** A hyphen is a minus, and a line must not begin with a control character. */
const escape = (text: string): string =>
  text
    .replaceAll("\\", "\\e")
    .replaceAll("-", "\\-")
    .replace(/^([.'])/gm, "\\&$1")
    .replace(/\P{ASCII}/gu, (c) => `\\[u${c.codePointAt(0)!.toString(16).padStart(4, "0").toUpperCase()}]`);

export function manPage(verbs: readonly Verb[], version: string): string {
  const lines = [
    `.TH MARMOT 1 "" "marmot ${version}" "User Commands"`,
    ".SH NAME",
    escape("marmot - replicates one plain SQLite file to several machines"),
    ".SH SYNOPSIS",
    ".B marmot",
    "VERB [FILE] [options]",
    ".SH DESCRIPTION",
    escape(
      "Applications keep writing to the file with plain SQLite. Each option of a verb is a flag, an environment variable and a key of the TOML file that --config names; the flag wins over the variable, the variable over the file.",
    ),
    ".SH VERBS",
    ...verbs.flatMap(verbLines),
    ".SH EXIT STATUS",
    escape("0: done. 1: failed, not ready, not equal or timed out. 2: wrong usage."),
    ".SH ENVIRONMENT",
    escape(
      "MARMOT_ and the option in capitals with _ for -, such as MARMOT_DATA_DIR. NO_COLOR switches colours off.",
    ),
    ".SH FILES",
    escape("FILE.marmot: the data directory of the node beside its file."),
    "",
  ];
  return lines.join("\n");
}

function verbLines(verb: Verb): string[] {
  const about = [verb.summary, ...(verb.details ?? [])].join(" ");
  const options = groupsOf(verb).flatMap((group) => [
    ...(group.note === undefined ? [] : [".PP", escape(group.note)]),
    ...specsOf(verb, group).flatMap((spec) => [
      ".TP",
      `.B ${escape(nameOf(spec))}`,
      escape(`${aboutOf(spec)} (${environmentName(spec.name)})`),
    ]),
  ]);
  return [
    `.SS ${escape(`marmot ${verb.usage}`)}`,
    escape(about),
    ...options,
    ".PP",
    escape(`Example: ${verb.example}`),
  ];
}
