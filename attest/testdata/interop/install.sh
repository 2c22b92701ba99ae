#!/bin/sh
# Installs the foreign judges of our evidence into DIR, which
# CLEANSTART_INTEROP then names. DIR may be a cache: what is there stays.
#
#	install.sh DIR
set -eu
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1/schemas"
cd "$1"
if ! cmp -s "$here/package-lock.json" installed.json; then
  cp "$here/package.json" "$here/package-lock.json" .
  npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
  cp package-lock.json installed.json
fi
# The SPDX 2.3 schema, as the CycloneDX project ships it with its utility.
if ! [ -s schemas/spdx-2.3.json ]; then
  tmp=$(mktemp -d)
  mod=$(cd "$tmp" && GOFLAGS= GOWORK=off go mod download -json github.com/CycloneDX/sbom-utility@v0.16.0 |
    node -e 'let s="";process.stdin.on("data",d=>s+=d).on("end",()=>console.log(JSON.parse(s).Dir))')
  install -m 644 "$mod/resources/schema/spdx/2.3.1/spdx-schema.json" schemas/spdx-2.3.json.new
  mv schemas/spdx-2.3.json.new schemas/spdx-2.3.json
  rmdir "$tmp"
fi
