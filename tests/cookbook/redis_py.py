"""redis-py (or valkey-py, by the first argument) through the Sentinel face: writes as long as it is let."""

import importlib
import sys
import threading
import time

library = importlib.import_module(sys.argv[1])
sentinel_module = importlib.import_module(sys.argv[1] + ".sentinel")
host, port, name, key = sys.argv[2], int(sys.argv[3]), sys.argv[4], sys.argv[5]

errors = importlib.import_module(sys.argv[1] + ".exceptions")
base = getattr(errors, "RedisError", None) or errors.ValkeyError

sentinel = sentinel_module.Sentinel([(host, port)], socket_timeout=2)
master = sentinel.master_for(name, socket_timeout=5)

stopped = threading.Event()


def wait_for_the_end():
    sys.stdin.read()
    stopped.set()


threading.Thread(target=wait_for_the_end, daemon=True).start()
number = 0
while not stopped.is_set():
    number += 1
    try:
        master.rpush(key, number)
        print("ack", number, flush=True)
    except base as error:
        print("err", number, type(error).__name__, flush=True)
        time.sleep(0.01)
    time.sleep(0.002)
