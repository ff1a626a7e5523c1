/** A Debian package: the binary, its unit for systemd, its manual page, completions and licences. */
import { createHash } from "node:crypto";
import { ar, gzip, type PackedFile, tar } from "./archive.ts";

export interface DebOptions {
  readonly version: string;
  readonly architecture: string;
  /** Seconds since 1970. */
  readonly time: number;
}

const text = (content: string): Buffer => Buffer.from(content);

const POSTINST = `#!/bin/sh
set -e
if [ "$1" = configure ]; then
  if ! getent passwd marmot >/dev/null; then
    adduser --system --group --home /var/lib/marmot --no-create-home marmot
  fi
  if [ -d /run/systemd/system ]; then systemctl daemon-reload || true; fi
fi
`;
const PRERM = `#!/bin/sh
set -e
if [ "$1" = remove ] && [ -d /run/systemd/system ]; then systemctl stop 'marmot@*.service' || true; fi
`;

export function deb(files: readonly PackedFile[], { version, architecture, time }: DebOptions): Buffer {
  const size = Math.ceil(files.reduce((sum, f) => sum + f.bytes.length, 0) / 1024);
  const control = `Package: marmot
Version: ${version}
Architecture: ${architecture}
Maintainer: The Marmot authors <marmot@localhost>
Installed-Size: ${size}
Depends: libc6 (>= 2.28), adduser
Section: database
Priority: optional
Description: replicates one plain SQLite file to several machines
 Applications keep writing to the file with plain SQLite. Every node takes
 writes; Raft gives them one order. No change in the application.
`;
  const md5 = (bytes: Uint8Array): string => createHash("md5").update(bytes).digest("hex");
  const sums = files.map((f) => `${md5(f.bytes)}  ${f.path}\n`).join("");
  const controls: PackedFile[] = [
    { path: "control", bytes: text(control) },
    { path: "md5sums", bytes: text(sums) },
    { path: "postinst", bytes: text(POSTINST), mode: 0o755 },
    { path: "prerm", bytes: text(PRERM), mode: 0o755 },
  ];
  return ar(
    [
      { path: "debian-binary", bytes: text("2.0\n") },
      { path: "control.tar.gz", bytes: gzip(tar(controls, time, "./")) },
      { path: "data.tar.gz", bytes: gzip(tar(files, time, "./")) },
    ],
    time,
  );
}
