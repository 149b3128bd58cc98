// Domicile is the command that people type; package cli says what it does.
package main

import (
	"os"

	"github.com/domicile-dev/domicile/pkg/cli"
	"github.com/domicile-dev/domicile/pkg/demo"
)

func main() {
	os.Exit(cli.Main(demo.Command(cli.ShowPolicy), demo.BackendCommand(), demo.EtcdCommand()))
}
