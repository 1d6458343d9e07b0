"""Room that the sockets of DHCP of other processes have: python3 rooms.py BYTES PID...: prints it, a line for each.

BYTES is what they are given before, as a kernel does that has it as net.core.rmem_default; 0: it stays.
"""

import ctypes
import os
import socket
import sys

PIDFD_GETFD, SO_RCVBUFFORCE = 438, 33
libc = ctypes.CDLL(None, use_errno=True)


def hears(one: socket.socket) -> bool:
    if one.family == socket.AF_PACKET:
        return True
    return one.type == socket.SOCK_DGRAM and one.family in (socket.AF_INET, socket.AF_INET6)


wanted, pids = int(sys.argv[1]), [int(pid) for pid in sys.argv[2:]]
for pid in pids:
    process = os.pidfd_open(pid)
    for number in os.listdir(f"/proc/{pid}/fd"):
        if not os.readlink(f"/proc/{pid}/fd/{number}").startswith("socket:"):
            continue
        mine = libc.syscall(PIDFD_GETFD, process, int(number), 0)
        if mine < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        with socket.socket(fileno=mine) as one:
            if hears(one):
                if wanted:
                    one.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, wanted // 2)  # the kernel doubles it
                print(one.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF))
    os.close(process)
