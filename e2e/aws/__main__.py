"""`python -m e2e.aws`: EC2 as boto3 sees it, and the hand that switches machines off when EC2 says so."""

import logging
import time

from moto.server import ThreadedMotoServer

from e2e.aws.instances import Instances, State
from e2e.cluster import node
from e2e.cluster.layout import CONTROL_PLANE_IP, NODES

LOOK_EVERY_SECONDS = 0.5


def main() -> None:
    """Serve for ever. A machine whose instance was stopped or terminated, by whomever, loses its power."""
    logging.getLogger("werkzeug").setLevel(logging.WARNING)  # it would note every look at the instances
    server = ThreadedMotoServer(ip_address=CONTROL_PLANE_IP, port=5000, verbose=False)
    server.start()
    instances = Instances()
    while True:
        time.sleep(LOOK_EVERY_SECONDS)
        states = instances.states()
        for one in NODES:
            if states.get(one.name) in (State.STOPPED, State.TERMINATED) and node.is_running(one):
                print(f"{one.name} is {states[one.name]}: its power goes", flush=True)
                node.kill(one)


if __name__ == "__main__":
    main()
