"""A twin of the EBS CSI driver: files for volumes, loop devices for attached disks, and EBS's own refusals.

The real external-attacher drives it, so VolumeAttachments are Kubernetes' own. What EBS would refuse is refused here: a second
attachment, another zone, a detach while the node still holds the disk. What must never happen, two nodes with one disk open,
is looked for at every mount and written into the events as VIOLATION.
"""
