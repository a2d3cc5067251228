#!/usr/bin/env bash
# PID 1 of a node, in namespaces of its own (node.py starts it and says what the variables are).
set -euo pipefail

# While the machine's /proc is still mounted it tells the process id that the machine knows us by.
read -r pid _ < /proc/self/stat
echo "$pid" > "$HOME_FOLDER/pid"

mount --make-rprivate /
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t tmpfs tmpfs /sys/fs/cgroup
# In a cgroup namespace the node's own groups are the root: kubelet, containerd and cAdvisor need no options.
for hierarchy in $HIERARCHIES; do
  mkdir "/sys/fs/cgroup/$hierarchy"
  case $hierarchy in
    systemd) mount -t cgroup -o none,name=systemd cgroup "/sys/fs/cgroup/$hierarchy" ;;
    *) mount -t cgroup -o "$hierarchy" cgroup "/sys/fs/cgroup/$hierarchy" ;;
  esac
done
mount -t tmpfs tmpfs /run
mkdir /run/lock
# What the node's own /var hides of the machine's, and its programs need (a checkout below /var), is laid there again.
kept=0
for folder in $KEPT; do
  kept=$((kept + 1))
  mkdir -p "$HOME_FOLDER/kept/$kept" "$HOME_FOLDER$folder"
  mount --bind "$folder" "$HOME_FOLDER/kept/$kept"
done
mount --bind "$HOME_FOLDER/var" /var
kept=0
for folder in $KEPT; do
  kept=$((kept + 1))
  mount --bind "$HOME_FOLDER/kept/$kept" "$folder"
done
mount --bind "$HOME_FOLDER/sysctl/overcommit_memory" /proc/sys/vm/overcommit_memory
mount --bind "$HOME_FOLDER/sysctl/panic" /proc/sys/kernel/panic
mount --bind "$HOME_FOLDER/sysctl/panic_on_oops" /proc/sys/kernel/panic_on_oops
hostname "$NODE"
mount --make-rshared /
cd /

start() { # NAME COMMAND...: its output in the cluster's logs
  local name=$1
  shift
  "$@" >> "$LOGS/$NODE-$name.log" 2>&1 &
  echo $! > "/run/$name.pid"
}

keep() { # NAME COMMAND...: started again when it fails, as systemd does
  local name=$1
  shift
  until "$@" >> "$LOGS/$NODE-$name.log" 2>&1; do sleep 1; done &
}

start containerd containerd --config "$HOME_FOLDER/containerd.toml"
until [ -S /run/containerd/containerd.sock ]; do sleep 0.05; done

# Images survive a reboot on the node's disk; a file of IMAGES is imported once.
touch "$HOME_FOLDER/images"
for archive in $IMAGES; do
  grep -qxF "$archive" "$HOME_FOLDER/images" && continue
  ctr --namespace k8s.io images import "$archive" > /dev/null
  echo "$archive" >> "$HOME_FOLDER/images"
done

# The disks of the machine are there before the kubelet asks for them.
start csi env PYTHONPATH="$ROOT" "$PYTHON" -m e2e.csi node --name "$NODE" --machine "$MACHINE" --zone "$ZONE"
keep kubelet "$KUBELET" --config="$HOME_FOLDER/kubelet.json" --kubeconfig="$KUBELET_CONFIG" --root-dir=/var/lib/kubelet \
  --hostname-override="$NODE" --node-ip="$IP" --node-labels="$LABELS" --provider-id="$PROVIDER_ID" --v=2
start kube-proxy "$KUBE_PROXY" --config="$HOME_FOLDER/kube-proxy.json" --v=2
touch "$HOME_FOLDER/booted"

# The first process adopts every orphan. Only the kubelet is started again: it ends where a busy machine's containerd is slow.
set +e
while :; do
  wait -n
  [ $? = 127 ] && sleep 1
done
