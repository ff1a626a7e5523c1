#!/bin/sh
# Installs the marmot binary of a release: fetches the archive of this platform, checks its SHA-256, and copies the binary.
#
#   MARMOT_URL=https://HOST/PATH/v0.2.0 sh install.sh
#
# MARMOT_URL: the folder of the release with SHA256SUMS; PREFIX: where bin/marmot goes (/usr/local).
set -eu

url=${MARMOT_URL:-@URL@}
prefix=${PREFIX:-/usr/local}

fail() {
  echo "marmot: $1" >&2
  echo "hint: $2" >&2
  exit 1
}

case "$(uname -s)" in
  Linux) os=linux ;;
  Darwin) os=darwin ;;
  *) fail "there is no binary for $(uname -s)" "build it from source: npm ci && npm run build" ;;
esac
case "$(uname -m)" in
  x86_64 | amd64) cpu=x64 ;;
  aarch64 | arm64) cpu=arm64 ;;
  *) fail "there is no binary for $(uname -m)" "build it from source: npm ci && npm run build" ;;
esac
suffix=
# The C library of the system's own programs: Debian can have musl's loader beside its glibc.
if [ "$os" = linux ] && ldd /bin/sh 2>&1 | grep -q musl; then
  suffix=-musl
  ls /usr/lib/libstdc++.so.6 >/dev/null 2>&1 ||
    fail "the binary needs libstdc++" "apk add libstdc++"
fi

fetch() {
  case "$1" in
    file://*) cp "${1#file://}" "$2" ;;
    *)
      if command -v curl >/dev/null; then curl -fsSL --retry 3 -o "$2" "$1"
      else wget -q -O "$2" "$1"; fi
      ;;
  esac
}
sha256() {
  if command -v sha256sum >/dev/null; then sha256sum "$1"; else shasum -a 256 "$1"; fi | cut -d ' ' -f 1
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fetch "$url/SHA256SUMS" "$work/SHA256SUMS" ||
  fail "$url/SHA256SUMS cannot be fetched" "check MARMOT_URL"
line=$(grep -E "  marmot-[^ ]*-$os-$cpu$suffix\.tar\.gz\$" "$work/SHA256SUMS") ||
  fail "the release has no archive for $os-$cpu$suffix" "look at $url"
wanted=${line%% *}
name=${line##* }
fetch "$url/$name" "$work/$name" || fail "$url/$name cannot be fetched" "try again"
given=$(sha256 "$work/$name")
[ "$given" = "$wanted" ] ||
  fail "$name has the checksum $given, not $wanted" "try again; do not use this file"
tar -xzf "$work/$name" -C "$work"
folder=$work/${name%.tar.gz}
mkdir -p "$prefix/bin"
# In one step, so that a running node keeps its binary.
cp "$folder/marmot" "$prefix/bin/.marmot.new"
chmod 755 "$prefix/bin/.marmot.new"
mv -f "$prefix/bin/.marmot.new" "$prefix/bin/marmot"
"$prefix/bin/marmot" version
