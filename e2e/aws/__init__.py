"""The cloud around the cluster: EC2's books (moto), which follow what happens to nodes and disks, and S3 (SeaweedFS)."""
