#!/bin/sh
# Run the command as the user who called: USER_ID and GROUP_ID, else the owner of the experiments.
set -eu

if [ "$(id -u)" -ne 0 ]; then
  exec "$@"
fi
owner=/work/examples
[ -e "$owner" ] || owner=/work
user=${USER_ID:-$(stat -c %u "$owner")}
group=${GROUP_ID:-$(stat -c %g "$owner")}
# Docker makes a missing directory of results for root.
if [ -d /work/runs ] && [ "$(stat -c %u /work/runs)" -ne "$user" ]; then
  chown "$user:$group" /work/runs
fi
exec setpriv --reuid "$user" --regid "$group" --clear-groups "$@"
