#!/bin/sh
# Let the gateway log in to Vault or OpenBao with the token of its ServiceAccount. Safe to run again.
# Needs: VAULT_ADDR (BAO_ADDR), a token that may write policies and auth methods, and the command `vault` or `bao`.
#   sh deploy/vault/setup.sh        Vault runs in the cluster; its ServiceAccount has the ClusterRole system:auth-delegator
#   KUBERNETES_HOST=https://10.0.0.1:6443 KUBERNETES_CA=ca.crt KUBERNETES_REVIEWER=token sh deploy/vault/setup.sh
#                                   it runs elsewhere; the file `token` is that of a ServiceAccount with that ClusterRole
set -eu
here=$(cd "$(dirname "$0")" && pwd)
namespace=${NAMESPACE:-egress}
account=${SERVICE_ACCOUNT:-extproc}
role=${ROLE:-egress}

vault=$(command -v vault || command -v bao) || { echo "neither vault nor bao is on the PATH" >&2; exit 1; }

if [ -n "${KUBERNETES_HOST:-}" ]; then
    set -- kubernetes_host="$KUBERNETES_HOST" kubernetes_ca_cert=@"${KUBERNETES_CA:?is the file of the authority of $KUBERNETES_HOST}" \
        token_reviewer_jwt=@"${KUBERNETES_REVIEWER:?is the file of a token that may review tokens}"
else
    set -- kubernetes_host=https://kubernetes.default.svc
fi

"$vault" policy write "$role" "$here/extproc.hcl"
"$vault" auth list | grep -q '^kubernetes/' || "$vault" auth enable kubernetes
"$vault" write auth/kubernetes/config "$@"
"$vault" write "auth/kubernetes/role/$role" bound_service_account_names="$account" \
    bound_service_account_namespaces="$namespace" audience=vault token_policies="$role" token_no_default_policy=true \
    token_ttl=20m token_max_ttl=24h
