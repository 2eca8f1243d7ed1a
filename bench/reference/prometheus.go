package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/util/annotations"
)

// Over this long, in such steps, KRR asks by default (history_duration 336 hours, timeframe_duration 1.25 minutes).
const (
	history = 14 * 24 * time.Hour
	step    = 75 * time.Second
)

// answers is, by query, what Prometheus answers for each pod.
type answers map[string]map[string][]string

// ask evaluates KRR's queries about one container of all pods with Prometheus' own engine.
func ask(t trace, name string) (answers, error) {
	series := store{}
	for _, pod := range slices.Sorted(maps.Keys(t.Pods)) {
		if container, ok := t.Pods[pod][name]; ok {
			series = append(series, scrape(t, pod, name, container)...)
		}
	}
	which := fmt.Sprintf(`{namespace="default",pod=~"%s",container="%s"}`, pods(t), name)
	cpu := "container_cpu_usage_seconds_total" + which
	memory := "container_memory_working_set_bytes" + which
	limit := fmt.Sprintf(`kube_pod_container_resource_limits{resource="memory",%s`, which[1:])
	reason := fmt.Sprintf(`kube_pod_container_status_last_terminated_reason{reason="OOMKilled",%s`, which[1:])
	by := " by (container, pod, job)"
	over := "[14d:75s]"
	killed := fmt.Sprintf("max(%s) by (pod, container, job) * on(pod, container, job) group_left(reason) "+
		"max(%s) by (pod, container, job, reason)", limit, reason)
	queries := map[string]string{
		"cpu":          fmt.Sprintf("quantile_over_time(0.95, max(rate(%s[75s]))%s%s)", cpu, by, over),
		"cpu_count":    fmt.Sprintf("count_over_time(max(%s)%s%s)", cpu, by, over),
		"memory":       fmt.Sprintf("max_over_time(max(%s)%s%s)", memory, by, over),
		"memory_count": fmt.Sprintf("count_over_time(max(%s)%s%s)", memory, by, over),
		"killed":       fmt.Sprintf("max_over_time(max(%s)%s%s)", killed, by, over),
	}
	found := answers{}
	engine := promql.NewEngine(promql.EngineOpts{
		MaxSamples: 50_000_000, Timeout: time.Minute, LookbackDelta: 5 * time.Minute,
		Parser: parser.NewParser(parser.Options{}),
	})
	now := time.UnixMilli(t.Now)
	for what, text := range queries {
		query, err := engine.NewInstantQuery(context.Background(), series, nil, text, now)
		if err != nil {
			return nil, err
		}
		if found[what], err = answer(query); err != nil {
			return nil, fmt.Errorf("%s: %w", text, err)
		}
	}
	end := now.UTC().Truncate(time.Minute)
	text := fmt.Sprintf("max(rate(%s[75s]))%s", cpu, by)
	query, err := engine.NewRangeQuery(context.Background(), series, nil, text, end.Add(-history), end, step)
	if err != nil {
		return nil, err
	}
	if found["cpu_range"], err = answer(query); err != nil {
		return nil, err
	}
	return found, nil
}

func pods(t trace) string {
	text := ""
	for _, pod := range slices.Sorted(maps.Keys(t.Pods)) {
		text += "|" + pod
	}
	return text[1:]
}

// answer is the values of each pod, written as the HTTP API writes them.
func answer(query promql.Query) (map[string][]string, error) {
	result := query.Exec(context.Background())
	if result.Err != nil {
		return nil, result.Err
	}
	found := map[string][]string{}
	write := func(value float64) string { return strconv.FormatFloat(value, 'f', -1, 64) }
	switch value := result.Value.(type) {
	case promql.Vector:
		for _, sample := range value {
			found[sample.Metric.Get("pod")] = []string{write(sample.F)}
		}
	case promql.Matrix:
		for _, series := range value {
			for _, point := range series.Floats {
				pod := series.Metric.Get("pod")
				found[pod] = append(found[pod], write(point.F))
			}
		}
	default:
		return nil, fmt.Errorf("%T", value)
	}
	return found, nil
}

// scrape is what cAdvisor and kube-state-metrics show of a container, scraped whenever the trace looked at it. The
// counter was zero before the first look. What is not scraped in a gap has no stale marker.
func scrape(t trace, pod, name string, c container) []storage.Series {
	var cpu, memory, limit, reason []chunks.Sample
	var used int64
	killed := false
	for _, sample := range t.samples(c) {
		used += sample.cpu
		killed = killed || sample.killed
		cpu = append(cpu, point{sample.at, float64(used*1000) / 1e6})
		memory = append(memory, point{sample.at, float64(sample.memory)})
		if c.Limit > 0 {
			limit = append(limit, point{sample.at, float64(c.Limit)})
		}
		if killed {
			reason = append(reason, point{sample.at, 1})
		}
	}
	list := func(samples []chunks.Sample, metric string, more ...string) storage.Series {
		common := []string{"__name__", metric, "namespace", "default", "pod", pod, "container", name, "job", "kubelet"}
		return storage.NewListSeries(labels.FromStrings(append(common, more...)...), samples)
	}
	return []storage.Series{
		list(cpu, "container_cpu_usage_seconds_total"),
		list(memory, "container_memory_working_set_bytes"),
		list(limit, "kube_pod_container_resource_limits", "resource", "memory"),
		list(reason, "kube_pod_container_status_last_terminated_reason", "reason", "OOMKilled"),
	}
}

// store is the least of a database that the engine can ask.
type store []storage.Series

func (s store) Querier(_, _ int64) (storage.Querier, error) { return s, nil }

func (s store) Select(_ context.Context, _ bool, _ *storage.SelectHints, matchers ...*labels.Matcher) storage.SeriesSet {
	var found []storage.Series
	for _, series := range s {
		if !slices.ContainsFunc(matchers, func(m *labels.Matcher) bool { return !m.Matches(series.Labels().Get(m.Name)) }) {
			found = append(found, series)
		}
	}
	return &set{found, -1}
}

func (store) LabelValues(context.Context, string, *storage.LabelHints, ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	return nil, nil, nil
}

func (store) LabelNames(context.Context, *storage.LabelHints, ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	return nil, nil, nil
}

func (store) Close() error { return nil }

type set struct {
	series []storage.Series
	at     int
}

func (s *set) Next() bool                        { s.at++; return s.at < len(s.series) }
func (s *set) At() storage.Series                { return s.series[s.at] }
func (s *set) Err() error                        { return nil }
func (s *set) Warnings() annotations.Annotations { return nil }

type point struct {
	at    int64
	value float64
}

func (p point) T() int64                      { return p.at }
func (p point) ST() int64                     { return 0 }
func (p point) F() float64                    { return p.value }
func (p point) H() *histogram.Histogram       { return nil }
func (p point) FH() *histogram.FloatHistogram { return nil }
func (p point) Type() chunkenc.ValueType      { return chunkenc.ValFloat }
func (p point) Copy() chunks.Sample           { return p }
