#!/bin/sh
# Runs a command on another kernel: uml.sh DIRECTORY COMMAND [ARGUMENT...] boots User-Mode Linux, a kernel that runs as a
# process and shares this machine's files, runs the command there as root, and ends with its exit status. What the command
# prints comes out here. What it writes below DIRECTORY stays. What it writes below the current directory, /dev, /run,
# /tmp and /var/lib is seen by it alone; all else is read-only. Of the environment, WEFT_TEST_* and NODE_* go along.
# UML_MEMORY (2G) and UML_TIMEOUT (600 seconds) bound what it takes. Needs root, x86-64, and the Debian packages
# user-mode-linux and kmod, which setup.sh installs; uml-modules.sh adds nftables to what this kernel can do.
set -eu

# No command ended: the status is this one, which commands hardly use.
no_kernel=125

fail() { echo "uml.sh: $*" >&2; exit "$no_kernel"; }

# A word as the shell reads it back, after a space.
quoted() { printf " '%s'" "$(printf %s "$1" | sed "s/'/'\\\\''/g")"; }

# On this machine: boots the kernel with this same script as its first process, and hands on how that ended.
boot() {
  PATH=$PATH:/usr/sbin:/sbin
  [ $# -ge 2 ] || fail "usage: uml.sh DIRECTORY COMMAND [ARGUMENT...]"
  [ "$(uname -m)" = x86_64 ] || fail "Debian's user-mode-linux is for x86-64 only; this machine is $(uname -m)"
  [ "$(id -u)" -eq 0 ] || fail "it shares all files of this machine, so run it as root"
  command -v linux.uml >/dev/null || fail "linux.uml is missing; run: $(dirname "$0")/setup.sh"
  directory=$(cd "$1" && pwd)
  shift
  work=$(mktemp -d)
  uml=
  trap finish EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM HUP
  {
    for name in $(env | sed -n 's/^\(\(WEFT_TEST\|NODE\)_[A-Z_]*\)=.*/\1/p'); do
      echo "$name=$(quoted "$(printenv "$name")" | cut -c2-); export $name"
    done
    echo "cd$(quoted "$PWD") || exit"
    printf exec
    for word in "$@"; do quoted "$word"; done
    echo
  } >"$work/command"
  here=$(cd "$(dirname "$0")" && pwd)
  release=$(linux.uml --version)
  modules=$here/../.runtime/uml-modules
  if [ ! -d "$modules/lib/modules/$release" ]; then
    modules=$work/modules
    mkdir -p "$modules/lib/modules"
    ln -s "/usr/lib/uml/modules/$release" "$modules/lib/modules/"
  fi
  # Processors with AMX have registers that this kernel does not know of: see uml-xstate.c.
  preload=
  if grep -qw amx_tile /proc/cpuinfo; then
    preload=$here/../.runtime/uml-xstate.so
    if [ ! "$preload" -nt "$here/uml-xstate.c" ]; then
      command -v gcc >/dev/null || fail "gcc is missing, which User-Mode Linux needs on this processor: apt-get install gcc libc6-dev"
      mkdir -p "$here/../.runtime"
      gcc -O2 -shared -fPIC -o "$preload.$$" "$here/uml-xstate.c"
      mv "$preload.$$" "$preload"
    fi
  fi
  # On one processor: its processes take turns at each system call, which goes three times as fast there as across two.
  processor=$(sed -n 's/^Cpus_allowed_list:.*[^0-9]\([0-9]*\)$/\1/p' /proc/self/status)
  # In a process namespace, of which nothing is left when its first process ends; that ends with this script in any case.
  setpriv --pdeathsig KILL timeout -s KILL "${UML_TIMEOUT:-600}" setpriv --pdeathsig KILL \
    unshare --pid --fork --kill-child --mount-proc taskset -c "$processor" \
    env ${preload:+"LD_PRELOAD=$preload"} linux.uml "mem=${UML_MEMORY:-2G}" root=/dev/root rootfstype=hostfs rootflags=/ ro quiet \
    con=null con0=null,fd:2 con1=null,fd:3 "uml_dir=$work/" umid=uml \
    "init=$here/uml.sh" "uml_work=$work" "uml_here=$PWD" "uml_directory=$directory" "uml_modules=$modules" \
    </dev/null 3>&1 >"$work/console" 2>&1 &
  uml=$!
  wait "$uml" && ended=0 || ended=$?
  uml=
  [ ! -s "$work/status" ] || exit "$(cat "$work/status")"
  sed 's/^/uml.sh: /' "$work/console" >&2
  [ "$ended" -ne 137 ] || fail "User-Mode Linux was ended after ${UML_TIMEOUT:-600} seconds, before the command was done"
  fail "User-Mode Linux ended (status $ended) before the command was done; what its kernel said is above"
}

finish() {
  # The group that timeout leads; what is in the process namespace ends with it.
  [ -z "$uml" ] || kill -KILL "-$uml" 2>/dev/null || true
  rm -rf "$work"
}

# In User-Mode Linux, as its first process.
init() {
  export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8
  mount -t proc proc /proc
  mount -t sysfs sysfs /sys
  mount -t tmpfs tmpfs /run
  mkdir -p /run/netns /run/boot /run/here/original /run/here/changed /run/here/scratch /run/modules
  # Before anything covers them: they may be below /tmp.
  mount -t hostfs -o "${uml_work:?}" none /run/boot
  mount -t hostfs -o ro,"${uml_here:?}" none /run/here/original
  # The kernel loads each module when it is first asked for. Its usual tool would look below /lib/modules.
  mount -t hostfs -o ro,"${uml_modules:?}" none /run/modules
  printf '#!/bin/sh\nexec modprobe -d /run/modules "$@"\n' >/run/modprobe
  chmod +x /run/modprobe
  echo /run/modprobe >/proc/sys/kernel/modprobe
  # What a machine has loaded that does more than this: IPv6, Docker's br_netfilter, and tunnels, which put devices of
  # their own (gre0, tunl0, sit0, ip6tnl0) into every network namespace.
  for module in ipv6 br_netfilter ip_gre ip6_gre ipip sit ip6_tunnel; do /run/modprobe "$module"; done
  mount -t tmpfs tmpfs /tmp
  mount -t tmpfs tmpfs /var/lib
  mkdir -p /dev/pts /dev/shm "$uml_here"
  mount -t devpts devpts /dev/pts
  mount -t tmpfs tmpfs /dev/shm
  ln -s /proc/self/fd /dev/fd
  ln -s fd/0 /dev/stdin
  ln -s fd/1 /dev/stdout
  ln -s fd/2 /dev/stderr
  mount -t overlay -o lowerdir=/run/here/original,upperdir=/run/here/changed,workdir=/run/here/scratch none "$uml_here"
  mkdir -p "${uml_directory:?}"
  mount -t hostfs -o "$uml_directory" none "$uml_directory"
  ip link set lo up
  # By way of a pipe, so that programs do not take it for a terminal.
  stty -F /dev/tty1 -opost
  { sh /run/boot/command </dev/null 2>&1 && echo 0 >/run/boot/status || echo $? >/run/boot/status; } | cat >/dev/tty1
  halt -f -p
}

if [ $$ = 1 ]; then init; else boot "$@"; fi
