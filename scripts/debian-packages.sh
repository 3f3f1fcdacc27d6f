#!/usr/bin/env bash
# Downloads packages of Debian into a folder, without installing anything and without touching the machine's own lists:
#
#   debian-packages.sh --into DIR [--suite trixie] [--components "main contrib non-free"] [--architecture arm64]
#                      [--source | --with-dependencies] NAME…
#
# The mirror is the one that the machine's own apt uses; the source list and the package lists are kept under DIR. --source
# downloads source packages, --with-dependencies also every package that these need, as on a machine that has none. What is
# already there is not downloaded again. Ends with 3 and a sentence on stderr where apt, a mirror of Debian or a package is
# missing. --print-mirror prints the mirror instead, for debootstrap.
set -euo pipefail

into='' suite=trixie components=main kind=deb names=() architecture='' what=download
while [ $# -gt 0 ]; do
  case $1 in
  --into) into=$2 && shift ;;
  --suite) suite=$2 && shift ;;
  --components) components=$2 && shift ;;
  --architecture) architecture=$2 && shift ;;
  --print-mirror) what=print-mirror ;;
  --source) kind=deb-src what='source --download-only' ;;
  --with-dependencies) what='install --download-only --no-install-recommends --yes' ;;
  *) names+=("$1") ;;
  esac
  shift
done

give_up() {
  echo "debian-packages: $*" >&2
  exit 3
}

command -v apt-get >/dev/null 2>&1 || give_up 'there is no apt-get on this machine'
# Without release information this also answers where no list was ever fetched.
mirror=$(apt-get indextargets --no-release-info --format '$(REPO_URI)' 'Created-By: Packages' |
  grep -m 1 -E '^(https?|file):.*/debian/?$' || true)
[ -n "$mirror" ] || give_up "this machine's apt knows no mirror of Debian"
if [ "$what" = print-mirror ]; then
  echo "$mirror"
  exit
fi

mkdir -p "$into/lists/partial" "$into/cache/archives/partial"
into=$(cd "$into" && pwd)
keyring=/usr/share/keyrings/debian-archive-keyring
for file in "$keyring.pgp" "$keyring.gpg"; do
  [ -e "$file" ] && signed="[signed-by=$file] " && break
done
echo "$kind ${signed:-}$mirror $suite $components" >"$into/sources.list"
apt=(apt-get -qq -o "Dir::Etc::SourceList=$into/sources.list" -o Dir::Etc::SourceParts=/dev/null
  -o "Dir::State::Lists=$into/lists" -o "Dir::Cache=$into/cache" -o APT::Sandbox::User=root
  -o Dir::State::Status=/dev/null # what is installed here, perhaps newer, does not matter
  ${architecture:+-o "APT::Architecture=$architecture" -o "APT::Architectures=$architecture"})
if [[ $what == install* ]]; then
  mkdir -p "$into/partial"
  : >"$into/installed"
  apt+=(-o "Dir::State::Status=$into/installed" -o "Dir::Cache::Archives=$into")
fi

"${apt[@]}" update >&2 || give_up "the lists of $suite could not be fetched from this machine's mirror"
cd "$into"
# Its words are separate options.
# shellcheck disable=SC2086
"${apt[@]}" $what "${names[@]}" >&2 || give_up "${names[*]} could not be fetched"
