#!/usr/bin/env bash
# preprocess_ochuman.sh DOWNLOAD_ROOT DATA_ROOT: put OCHuman's images and its annotations in COCO's
# layout where the configs expect them, whatever folders the archives have
set -euo pipefail
source=$1/OpenDataLab___OCHuman
target=$2

mkdir -p "$target/annotations" "$target/images" "$source/unpacked"
find "$source" -name '*.zip' -exec unzip -q -o {} -d "$source/unpacked" \;
find "$source" \( -name '*.tar' -o -name '*.tar.gz' -o -name '*.tgz' \) \
    -exec tar -xf {} -C "$source/unpacked" \;
find "$source" -name '*.jpg' -exec mv -t "$target/images" {} +
find "$source" -name 'ochuman_coco_format_*.json' -exec mv -t "$target/annotations" {} +
rm -rf "$source"
