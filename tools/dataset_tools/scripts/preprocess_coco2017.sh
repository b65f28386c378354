#!/usr/bin/env bash
# preprocess_coco2017.sh DOWNLOAD_ROOT DATA_ROOT: unpack OpenDataLab's COCO 2017 as configs expect it
set -euo pipefail
raw=$1/OpenDataLab___COCO_2017/raw
target=$2

mkdir -p "$target"
for archive in Images/train2017 Images/val2017 Annotations/annotations_trainval2017; do
    unzip -q -o "$raw/$archive.zip" -d "$target"
done
for archive in Images/test2017 Annotations/image_info_test2017; do  # test-dev
    if [ -f "$raw/$archive.zip" ]; then unzip -q -o "$raw/$archive.zip" -d "$target"; fi
done
rm -rf "$1/OpenDataLab___COCO_2017"
