"""A Modal control plane on this machine: the unmodified modal client, command line and container entrypoint run against it.

    with ControlPlane(folder) as plane:
        plane.modal("run", "app.py::main")

What is real: the client and its gRPC requests, what it uploads, the container's entrypoint, and the user's code in a
process of its own that sees only the uploaded files, private copies of its volumes that a commit publishes, and its
secrets. What is not: images are recorded and not built (containers use the packages of the tests' environment), there are
no GPUs, and containers share this machine. Two modules of the modal wheel that are not public are used
(modal._container_entrypoint and modal._serialization), so modal is pinned.
"""

from tests.jobs.control_plane.client import ControlPlane, why_not_here

__all__ = ["ControlPlane", "why_not_here"]
