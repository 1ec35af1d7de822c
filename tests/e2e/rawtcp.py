# SPDX-License-Identifier: Apache-2.0
"""A TCP client that decides for itself what is in a segment: on a TUN device, one connection, no
retransmissions of its own. For what real stacks send only when the network is bad."""

import fcntl
import os
import select
import socket
import struct
import subprocess
import time

TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 1, 0x1000
FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16


def checksum(data):
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(">%dH" % (len(data) // 2), data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


class RawClient:
    """address: ours; the device's own is server."""

    def __init__(self, server, address, port, name="tun0"):
        self.fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(self.fd, TUNSETIFF, struct.pack("16sH", name.encode(), IFF_TUN | IFF_NO_PI))
        subprocess.run(["ip", "addr", "add", server + "/24", "dev", name], check=True)
        subprocess.run(["ip", "link", "set", name, "up"], check=True)
        self.server, self.address = socket.inet_aton(server), socket.inet_aton(address)
        self.port, self.own_port = port, 40000
        self.seq, self.ack, self.data, self.sent = 1000, 0, b"", b""

    def segment(self, flags, data=b"", seq=None):
        seq = self.seq if seq is None else seq
        head = struct.pack(">HHLLBBHHH", self.own_port, self.port, seq & 0xFFFFFFFF, self.ack,
                           5 << 4, flags, 65535, 0, 0)
        pseudo = self.address + self.server + struct.pack(">BBH", 0, 6, len(head) + len(data))
        head = head[:16] + struct.pack(">H", checksum(pseudo + head + data)) + head[18:]
        ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(head) + len(data), 0, 0, 64, 6, 0,
                         self.address, self.server)
        ip = ip[:10] + struct.pack(">H", checksum(ip)) + ip[12:]
        os.write(self.fd, ip + head + data)

    def read(self, seconds=5.0):
        """Takes one packet and acknowledges its data. False: none came."""
        if not select.select([self.fd], [], [], seconds)[0]:
            return False
        packet = os.read(self.fd, 65536)
        if packet[0] >> 4 != 4 or packet[9] != 6:
            return True
        tcp = packet[(packet[0] & 15) * 4:]
        seq, _, offset, flags = struct.unpack(">LLBB", tcp[4:14])
        assert not flags & RST, "reset by the router"
        data = tcp[(offset >> 4) * 4:]
        if flags & SYN:
            self.ack = seq + 1
        elif data and seq == self.ack:
            self.data += data
            self.ack = (self.ack + len(data)) & 0xFFFFFFFF
            self.segment(ACK)
        return True

    def connect(self):
        self.segment(SYN)
        while not self.ack:
            assert self.read()
        self.seq += 1
        self.segment(ACK)

    def say(self, data):
        self.again(0, data)

    def again(self, back, data=b""):
        """A segment that begins `back` bytes before what is new, as a merged retransmission does."""
        repeated = self.sent[len(self.sent) - back:]
        self.segment(ACK | PSH, repeated + data, self.seq - back)
        self.seq += len(data)
        self.sent += data

    def wait_for(self, text, seconds=20):
        end = time.monotonic() + seconds
        while text not in self.data:
            assert time.monotonic() < end, self.data
            self.read(1)
        before, found, self.data = self.data.partition(text)
        return before + found

    def close(self):
        os.close(self.fd)
