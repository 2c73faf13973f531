# What the gateway may do in Vault or OpenBao: read the keys of the workloads, keep its own session, and nothing else. The keys are
# in a KV store of version 2 at secret/, that of a workload at egress/<namespace>/<serviceAccount>.
path "secret/data/egress/*" {
  capabilities = ["read"]
}

path "auth/token/lookup-self" {
  capabilities = ["read"]
}

path "auth/token/renew-self" {
  capabilities = ["update"]
}
