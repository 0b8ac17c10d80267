"""Traffic for capture.ts: makes the kernel send what the golden files hold. Needs root.

traffic.py ping ADDRESS OCTETS        one ICMP echo request with Don't Fragment left clear; waits for the reply
traffic.py ping-df ADDRESS OCTETS     the same with Don't Fragment set
traffic.py tcp-server ADDRESS PORT    takes one connection, reads once, answers once, closes
traffic.py tcp-client ADDRESS PORT    the other side of it
traffic.py udp ADDRESS PORT           one datagram
traffic.py router-advertisement IF    one RA to all nodes: a prefix, an MTU and the link-layer address
traffic.py raw IF HEX                 one frame as it is
"""

import socket
import struct
import sys


def family_of(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def internet_checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ping(address, octets, dont_fragment):
    data = bytes(index & 0xFF for index in range(octets))
    if family_of(address) == socket.AF_INET6:
        sock = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
        sock.setsockopt(socket.IPPROTO_IPV6, 23, 3 if dont_fragment else 0)  # IPV6_MTU_DISCOVER
        request = struct.pack("!BBHHH", 128, 0, 0, 0x1234, 1) + data
    else:
        sock = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        sock.setsockopt(socket.IPPROTO_IP, 10, 3 if dont_fragment else 0)  # IP_MTU_DISCOVER
        checksum = internet_checksum(struct.pack("!BBHHH", 8, 0, 0, 0x1234, 1) + data)
        request = struct.pack("!BBHHH", 8, 0, checksum, 0x1234, 1) + data
    sock.settimeout(0.5)
    sock.sendto(request, (address, 0))
    try:
        sock.recv(65535)
    except TimeoutError:
        pass


def tcp_server(address, port):
    with socket.create_server((address, port), family=family_of(address)) as server:
        print("ready", flush=True)
        connection, _ = server.accept()
        with connection:
            connection.recv(100)
            connection.sendall(b"pong")


def tcp_client(address, port):
    with socket.create_connection((address, port)) as connection:
        connection.sendall(b"ping")
        while connection.recv(100):
            pass


def udp(address, port):
    with socket.socket(family_of(address), socket.SOCK_DGRAM) as sock:
        sock.sendto(b"datagram", (address, port))


def router_advertisement(interface):
    sock = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
    with open(f"/sys/class/net/{interface}/address", encoding="ascii") as file:
        mac = bytes.fromhex(file.read().strip().replace(":", ""))
    prefix = socket.inet_pton(socket.AF_INET6, "2001:db8:77::")
    message = struct.pack("!BBHBBHII", 134, 0, 0, 64, 0x40, 1800, 30000, 1000)
    message += struct.pack("!BBBBIII", 3, 4, 64, 0xC0, 86400, 14400, 0) + prefix
    message += struct.pack("!BBHI", 5, 1, 0, 1450)
    message += struct.pack("!BB", 1, 1) + mac
    sock.sendto(message, ("ff02::1", 0, 0, socket.if_nametoindex(interface)))


def raw(interface, octets):
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sock:
        sock.bind((interface, 0))
        sock.send(octets)


def main(command, *arguments):
    match command:
        case "ping" | "ping-df":
            ping(arguments[0], int(arguments[1]), command == "ping-df")
        case "tcp-server":
            tcp_server(arguments[0], int(arguments[1]))
        case "tcp-client":
            tcp_client(arguments[0], int(arguments[1]))
        case "udp":
            udp(arguments[0], int(arguments[1]))
        case "router-advertisement":
            router_advertisement(arguments[0])
        case "raw":
            raw(arguments[0], bytes.fromhex(arguments[1]))
        case _:
            sys.exit(__doc__)


main(*sys.argv[1:])
