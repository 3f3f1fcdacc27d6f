#!/usr/bin/env bash
# Lays out CUDA 12.4 as NVIDIA's installer does (bin, include, lib64, nvvm), with the real cuBLAS and NCCL, in the folder that it
# is given, from packages of Debian's components contrib and non-free: 1.6 GB are downloaded, and nothing is installed. What is
# there is kept. Ends with 3 and a sentence where the packages cannot be had.
set -euo pipefail
folder=$1
here=$(cd "$(dirname "$0")" && pwd)

# NCCL, with its header, in a folder of its own.
if [ ! -e "$folder/nccl/complete" ]; then
  echo 'toolkit: downloading libnccl2 libnccl-dev' >&2
  bash "$here/../debian-packages.sh" --into "$folder/nccl/debian" --components 'main contrib non-free' libnccl2 libnccl-dev
  for package in "$folder"/nccl/debian/*.deb; do
    dpkg-deb --fsys-tarfile "$package" | tar -x -C "$folder/nccl" --exclude=./usr/share --exclude='*.a'
  done
  ln -sfn usr/include "$folder/nccl/include"
  ln -sfn "usr/lib/$(cd "$folder/nccl/usr/lib" && ls -d ./*-linux-gnu)" "$folder/nccl/lib"
  rm -rf "$folder/nccl/debian"
  touch "$folder/nccl/complete"
fi

[ -e "$folder/complete" ] && exit 0
packages=(nvidia-cuda-dev nvidia-cuda-toolkit libcublas12 libcublaslt12 libcudart12 libcu++-dev)
echo "toolkit: downloading ${packages[*]}" >&2
bash "$here/../debian-packages.sh" --into "$folder/debian" --components 'main contrib non-free' "${packages[@]}"

root=$folder/root
rm -rf "$root"
mkdir -p "$root"
# Static libraries are most of it, and two of them are used.
for package in "$folder"/debian/*.deb; do
  dpkg-deb --fsys-tarfile "$package" |
    tar -x -C "$root" --wildcards --exclude=./usr/share --exclude='*_static*.a' --exclude='*_static_*.a'
done
dpkg-deb --fsys-tarfile "$folder"/debian/nvidia-cuda-dev_*.deb | tar -x -C "$root" --wildcards '*/libcudart_static.a'

cd "$folder"
rm -rf bin include lib64 nvvm
mkdir -p bin nvvm
libraries=$(cd root/usr/lib && ls -d *-linux-gnu)
ln -s root/usr/include include
ln -s "root/usr/lib/$libraries" lib64
ln -s ../root/usr/lib/nvidia-cuda-toolkit/libdevice nvvm/libdevice
for tool in ptxas fatbinary cudafe++ nvlink bin2c cuobjdump; do ln -s "../root/usr/bin/$tool" bin/; done
for tool in cicc crt; do ln -s "../root/usr/lib/nvidia-cuda-toolkit/bin/$tool" bin/; done
cp root/usr/lib/nvidia-cuda-toolkit/bin/nvcc bin/ # it looks for the others beside itself
cat >bin/nvcc.profile <<'END'
TOP                = $(_HERE_)/..
NVVMIR_LIBRARY_DIR = $(TOP)/nvvm/libdevice
PATH              += $(_HERE_):
INCLUDES          += "-I$(TOP)/include" $(_SPACE_)
LIBRARIES         =+ $(_SPACE_) "-L$(TOP)/lib64"
END
# glibc declares these noexcept from 2.41 on, CUDA from 12.9 on: C++ wants them to agree.
sed -i -E 's/\b((sin|cos)pif?)\((double|float) x\);/\1(\3 x) noexcept(true);/' include/crt/math_functions.h
rm -rf debian/*.deb
touch complete
