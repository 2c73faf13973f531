"""Made by `proto/generate.sh` from the .proto files under `proto/`. Only `extproc.wire.codec` imports this."""
