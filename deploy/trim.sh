#!/bin/sh
# Leave out of a folder of installed packages what no program loads: sources and headers, tests, type stubs, and the descriptions of the
# several hundred AWS services that are not object storage or login to it.   trim.sh FOLDER
set -eu
cd "$1"
find . -type d -name tests -prune -exec rm -rf {} +
find . -type f \( -name '*.pyi' -o -name '*.pyx' -o -name '*.pxd' -o -name '*.c' -o -name '*.cpp' -o -name '*.h' -o -name '*.a' \) -delete
[ ! -d botocore/data ] || find botocore/data -mindepth 1 -maxdepth 1 -type d \
  ! -name s3 ! -name sts ! -name sso ! -name sso-oidc ! -name signin -exec rm -rf {} +
