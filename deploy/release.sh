#!/usr/bin/env bash
# What a release consists of, for this machine's kind: an archive, a Debian package, a bill of materials
# and their checksums, in target/release-files. It publishes nothing: .github/workflows/release.yml does.
#
#   deploy/release.sh
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly CARGO_DEB=3.8.0
readonly CARGO_CYCLONEDX=0.5.9
readonly TARGET=${CARGO_TARGET_DIR:-target}
readonly OUT=target/release-files

say() { printf '\n==> %s\n' "$*"; }

# $1 in version $2, built once into .cache when this machine has none; what follows asks it for its version.
find_tool() {
    export PATH="$PWD/.cache/tools/bin:$PATH"
    [[ $("$1" "${@:3}" --version 2>/dev/null) == *" $2" ]] && return
    say "installing $1 $2"
    cargo install --locked --debug --root .cache/tools --version "$2" "$1"
}

find_tool cargo-deb "$CARGO_DEB"
find_tool cargo-cyclonedx "$CARGO_CYCLONEDX" cyclonedx

version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)
kind=$(rustc -vV | sed -n 's/^host: //p')
name="genesys-proxy-$version-$kind"

say "building $name"
cargo build --release --locked --bin genesys-proxy
program="$TARGET/release/genesys-proxy"
[[ $("$program" --version) == "genesys-proxy $version" ]]

rm -rf "$OUT" target/package-files
mkdir -p "$OUT" target/package-files
"$program" man | gzip -9n >target/package-files/genesys-proxy.1.gz
for shell in bash zsh fish; do
    "$program" completions "$shell" >"target/package-files/genesys-proxy.$shell"
done

say "archive"
staging=$(mktemp -d)
trap 'rm -rf "$staging"' EXIT
mkdir "$staging/$name"
cp -r "$program" target/package-files/* proxy.toml README.md CHANGELOG.md LICENSE \
    deploy/genesys-proxy.service deploy/genesys-proxy.socket docs "$staging/$name"
strip "$staging/$name/genesys-proxy"
# The same bytes whoever packs them, and whenever.
tar --sort=name --mtime='2000-01-01 UTC' --owner=0 --group=0 --numeric-owner \
    -C "$staging" -cf - "$name" | gzip -9n >"$OUT/$name.tar.gz"

say "Debian package"
cargo-deb --no-build --locked --strip --output "$OUT/"

say "bill of materials"
cargo-cyclonedx cyclonedx --format json --spec-version 1.5 --override-filename "$name.cdx"
mv "$name.cdx.json" "$OUT/"

say "checksums"
(cd "$OUT" && sha256sum -- * >"$name.sha256" && sha256sum --check "$name.sha256")
