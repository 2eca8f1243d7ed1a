package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// trace is a file that traces.py wrote; what its fields mean is said there.
type trace struct {
	name  string
	Start int64                           `json:"start"`
	Step  int64                           `json:"step"`
	Now   int64                           `json:"now"`
	Pods  map[string]map[string]container `json:"pods"`
}

type container struct {
	After   int64      `json:"after"`
	Request int64      `json:"request"`
	Limit   int64      `json:"limit"`
	CPU     [][2]int64 `json:"cpu"`
	Memory  [][2]int64 `json:"memory"`
	Gaps    [][2]int64 `json:"gaps"`
	Kills   []int64    `json:"kills"`
}

// sample is one look at a container.
type sample struct {
	number int64 // of the container's samples
	at     int64 // milliseconds since 1970
	cpu    int64 // milliseconds of processor time since the look before it
	memory int64 // bytes
	killed bool
}

func read(directory string) ([]trace, error) {
	paths, err := filepath.Glob(filepath.Join(directory, "*.json"))
	if err != nil {
		return nil, err
	}
	var traces []trace
	for _, path := range paths {
		name := strings.TrimSuffix(filepath.Base(path), ".json")
		if name == "vpa" || name == "krr" {
			continue
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		read := trace{name: name}
		if err := json.Unmarshal(text, &read); err != nil {
			return nil, err
		}
		traces = append(traces, read)
	}
	return traces, nil
}

// samples are those that were taken, oldest first.
func (t trace) samples(c container) []sample {
	cpu, memory := spread(c.CPU), spread(c.Memory)
	var taken []sample
	for n := range int64(len(cpu)) {
		if slices.ContainsFunc(c.Gaps, func(gap [2]int64) bool { return gap[0] <= n && n < gap[1] }) {
			continue
		}
		at := t.Start + (c.After+n+1)*t.Step*1000
		taken = append(taken, sample{n, at, cpu[n], memory[n], slices.Contains(c.Kills, n)})
	}
	return taken
}

func spread(runs [][2]int64) []int64 {
	var values []int64
	for _, run := range runs {
		for range run[0] {
			values = append(values, run[1])
		}
	}
	return values
}
