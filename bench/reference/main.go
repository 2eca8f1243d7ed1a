// Command reference computes what the VPA recommender recommends for each trace, and what Prometheus answers to KRR's
// queries about it, with the code of those projects. See README.md.
package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: reference DIRECTORY > answers.json")
		os.Exit(2)
	}
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// run writes vpa.json beside the traces, and Prometheus' answers to stdout.
func run(directory string) error {
	traces, err := read(directory)
	if err != nil {
		return err
	}
	recommended := map[string]map[string]bounds{}
	answered := map[string]map[string]answers{}
	for _, t := range traces {
		if recommended[t.name], err = recommend(t); err != nil {
			return fmt.Errorf("%s: %w", t.name, err)
		}
		answered[t.name] = map[string]answers{}
		for name := range recommended[t.name] {
			if answered[t.name][name], err = ask(t, name); err != nil {
				return fmt.Errorf("%s, %s: %w", t.name, name, err)
			}
		}
	}
	text, err := lines(recommended)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(directory, "vpa.json"), text, 0o644); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(answered)
}

// lines is JSON with a line for each container.
func lines(recommended map[string]map[string]bounds) ([]byte, error) {
	whole := []byte("{\n")
	for n, name := range slices.Sorted(maps.Keys(recommended)) {
		if n > 0 {
			whole = append(whole, ",\n"...)
		}
		whole = fmt.Appendf(whole, "%q:{", name)
		for n, container := range slices.Sorted(maps.Keys(recommended[name])) {
			text, err := json.Marshal(recommended[name][container])
			if err != nil {
				return nil, err
			}
			if n > 0 {
				whole = append(whole, ',')
			}
			whole = fmt.Appendf(whole, "\n %q:%s", container, text)
		}
		whole = append(whole, '}')
	}
	return append(whole, "\n}\n"...), nil
}
