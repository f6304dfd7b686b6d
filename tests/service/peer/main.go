// peer is everybody that guest-pulld talks to, over Debian's ttrpc library: kata-agent, the real confidential-data-hub with the
// attestation agent, and a client that means harm. Results are JSON on standard output.
package main

import (
	"encoding/json"
	"fmt"
	"os"
)

func main() {
	commands := map[string]func([]string) error{"hub": hub, "pull": pull, "call": call, "agent": agent, "flood": flood}
	if len(os.Args) < 2 || commands[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: peer hub|pull|call|agent|flood …")
		os.Exit(2)
	}
	if err := commands[os.Args[1]](os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, "peer:", err)
		os.Exit(1)
	}
}

func report(value interface{}) error {
	return json.NewEncoder(os.Stdout).Encode(value)
}
