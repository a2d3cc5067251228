"""A real Kubernetes on one machine, and the tests that run on it.

`build/` makes the programs, `images/` the container images, `cluster/` the control plane and the nodes, `csi/` the disks,
`aws/` the cloud around them (EC2, S3). Nothing here is part of the product, and the product knows nothing of it.
"""
