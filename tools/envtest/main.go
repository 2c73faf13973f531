// The API server of Kubernetes, and nothing of ours: the tests ask a real one whose token this is.
//
// Upstream publishes no module that can be installed with `go install`, since its go.mod replaces the staging modules by
// folders of its own tree; go.mod here replaces them by their published versions.
package main

import (
	"os"

	"k8s.io/component-base/cli"
	"k8s.io/kubernetes/cmd/kube-apiserver/app"
)

func main() {
	os.Exit(cli.Run(app.NewAPIServerCommand()))
}
