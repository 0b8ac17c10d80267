#!/bin/sh
# Records tunnels that the running kernel may lack: capture-uml.sh DIRECTORY NAME... writes DIRECTORY/NAME.pcap for each
# NAME that has a function make_NAME below; capture.ts knows them all. Two hosts in network namespaces, left - right, send
# inside User-Mode Linux. Needs what scripts/uml.sh does, and the Debian packages iproute2, ethtool, procps, tcpdump and
# python3. Leaves nothing behind but the captures.
set -eu

here=$(cd "$(dirname "$0")" && pwd)

record() {
  captures=$1
  shift
  mkdir /run/capture
  underlay
  for tunnel in "$@"; do
    "$(echo "make_$tunnel" | tr - _)"
    ip -n left link delete t0
    ip -n right link delete t0
  done
}

# Addresses are fixed, so that captures made again differ in as little as possible.
underlay() {
  ip netns add left
  ip netns add right
  ip -n left link add u0 address 02:00:00:00:00:01 type veth peer name u0 address 02:00:00:00:00:02 netns right
  host=1
  for side in left right; do
    ip -n $side link set lo up
    # The checksums must be in the frames, not left to a network card that does not exist.
    ip netns exec $side ethtool -K u0 tx off >/dev/null
    ip -n $side address add 192.0.2.$host/24 dev u0
    ip -n $side address add 2001:db8::$host/64 dev u0 nodad
    ip -n $side link set u0 up
    host=2
  done
  # Neighbours of the underlay are known from here on, and stay out of the captures.
  ip netns exec left python3 "$here/traffic.py" ping 192.0.2.2 8
  ip netns exec left python3 "$here/traffic.py" ping 2001:db8::2 8
}

v4="local 192.0.2.LOCAL remote 192.0.2.REMOTE"
v6="local 2001:db8::LOCAL remote 2001:db8::REMOTE"

# ends KIND OPTION...: the tunnel t0 between left and right; LOCAL and REMOTE stand for the number of the host.
ends() {
  end left 1 2 "$@"
  end right 2 1 "$@"
}

end() {
  side=$1 local=$2 remote=$3
  shift 3
  # shellcheck disable=SC2046 # the options are words
  ip -n "$side" link add t0 type $(echo "$*" | sed "s/LOCAL/$local/g; s/REMOTE/$remote/g")
  ip netns exec "$side" ethtool -K t0 tx off >/dev/null
  ip -n "$side" address add 10.0.0."$local"/24 dev t0
  # Nothing is to be sent but what is asked for: no duplicate address detection, no multicast listener reports.
  if ip -n "$side" link show t0 | grep -q link/ether; then
    ip -n "$side" link set t0 address 02:00:00:00:0a:0"$local"
    ip netns exec "$side" sysctl -q -w net.ipv6.conf.t0.disable_ipv6=1
  else
    ip -n "$side" link set t0 addrgenmode none
    ip -n "$side" address add fd00::"$local"/64 dev t0 nodad
  fi
  ip -n "$side" link set t0 up
}

# capture NAME FRAMES FILTER ADDRESS...: what crosses left's underlay interface while it pings the addresses.
capture() {
  name=$1 frames=$2 filter=$3
  shift 3
  : >/run/capture/tcpdump
  ip netns exec left tcpdump --immediate-mode -i u0 -n -U -s 0 -Z root -c "$frames" -w "/run/capture/$name.pcap" "$filter" \
    2>/run/capture/tcpdump &
  dump=$!
  until grep -q listening /run/capture/tcpdump; do sleep 0.05; done
  for address in "$@"; do ip netns exec left python3 "$here/traffic.py" ping "$address" 56; done
  attempts=0
  while kill -0 $dump 2>/dev/null; do
    attempts=$((attempts + 1))
    [ $attempts -lt 60 ] || { echo "$name: fewer than $frames frames were seen"; cat /run/capture/tcpdump; kill $dump; return 1; }
    sleep 0.05
  done
  cp "/run/capture/$name.pcap" "$captures/$name.pcap"
}

make_gre() {
  ends gre "$v4"
  capture gre 4 "ip proto 47" 10.0.0.2 fd00::2
}

make_gre_options() {
  ends gre "$v4" key 0xdeadbeef csum seq
  capture gre-options 4 "ip proto 47" 10.0.0.2 fd00::2
}

make_gretap() {
  ends gretap "$v4"
  capture gretap 4 "ip proto 47" 10.0.0.2
}

# The key is a VSID of 0x123456 and a FlowID of 0x78.
make_nvgre() {
  ends gretap "$v4" key 0x12345678
  capture nvgre 4 "ip proto 47" 10.0.0.2
}

make_gre_ipv6() {
  ends ip6gre "$v6" key 7 csum
  capture gre-ipv6 4 "ip6" 10.0.0.2 fd00::2
}

make_gretap_ipv6() {
  ends ip6gretap "$v6" encaplimit none
  capture gretap-ipv6 4 "ip6 proto 47" 10.0.0.2
}

make_ipip() {
  ends ipip "$v4"
  capture ipip 2 "ip proto 4" 10.0.0.2
}

make_6in4() {
  ends sit "$v4"
  capture 6in4 2 "ip proto 41" fd00::2
}

make_4in6() {
  ends ip6tnl mode ipip6 "$v6"
  capture 4in6 2 "ip6" 10.0.0.2
}

make_6in6() {
  ends ip6tnl mode ip6ip6 "$v6" encaplimit 7
  capture 6in6 2 "ip6" fd00::2
}

make_geneve() {
  ends geneve id 100 remote 192.0.2.REMOTE
  capture geneve 4 "udp port 6081" 10.0.0.2
}

make_geneve_ipv6() {
  ends geneve id 11259375 remote 2001:db8::REMOTE
  capture geneve-ipv6 4 "ip6 and udp port 6081" 10.0.0.2
}

# Two options: one of Open vSwitch's class with the critical bit and four octets, one of OVN's with eight.
make_geneve_options() {
  ends geneve external
  options=0x0101:0x80:00112233,0x0102:0x01:0123456789abcdef
  ip -n left route replace 10.0.0.2/32 dev t0 encap ip id 200 dst 192.0.2.2 geneve_opts $options
  ip -n right route replace 10.0.0.1/32 dev t0 encap ip id 200 dst 192.0.2.1 geneve_opts $options csum
  ip -n left neighbour add 10.0.0.2 lladdr 02:00:00:00:0a:02 dev t0
  ip -n right neighbour add 10.0.0.1 lladdr 02:00:00:00:0a:01 dev t0
  capture geneve-options 2 "udp port 6081" 10.0.0.2
}

make_geneve_ip() {
  ends geneve id 300 remote 192.0.2.REMOTE innerprotoinherit
  capture geneve-ip 2 "udp port 6081" 10.0.0.2
}

if [ "${WEFT_TEST_INSIDE_UML:-}" = yes ]; then
  record "$@"
else
  captures=$(cd "$1" && pwd)
  shift
  WEFT_TEST_INSIDE_UML=yes exec "$here/../../scripts/uml.sh" "$captures" "$here/capture-uml.sh" "$captures" "$@"
fi
