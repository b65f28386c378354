#!/usr/bin/env bash
# preprocess_crowdpose.sh DOWNLOAD_ROOT DATA_ROOT: unpack OpenDataLab's CrowdPose images, and fetch
# MMPose's annotation files, which hold COCO's layout and the crowd indices
set -euo pipefail
source=$1/OpenDataLab___CrowdPose
target=$2
annotations=https://download.openmmlab.com/mmpose/datasets/crowdpose_annotations.tar

mkdir -p "$target/annotations" "$target/images" "$source/unpacked"
tar -xzf "$source/raw/CrowdPose.tar.gz" -C "$source/unpacked"
find "$source/unpacked" -name '*.jpg' -exec mv -t "$target/images" {} +
curl --fail --location "$annotations" | tar -x -C "$source/unpacked"
find "$source/unpacked" -name 'mmpose_crowdpose_*.json' -exec mv -t "$target/annotations" {} +
rm -rf "$source"
