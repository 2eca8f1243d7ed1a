package main

import (
	"fmt"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	vpatypes "k8s.io/autoscaler/vertical-pod-autoscaler/pkg/apis/autoscaling.k8s.io/v1"
	"k8s.io/autoscaler/vertical-pod-autoscaler/pkg/recommender/logic"
	"k8s.io/autoscaler/vertical-pod-autoscaler/pkg/recommender/model"
)

// amount is millicores and bytes.
type amount struct {
	CPU    int64 `json:"cpu"`
	Memory int64 `json:"memory"`
}

type bounds struct {
	Target   amount `json:"target"`
	Lower    amount `json:"lower"`
	Upper    amount `json:"upper"`
	Uncapped amount `json:"uncapped"`
}

const namespace = "default"

// recommend feeds a trace into the recommender's own model of a cluster and asks it, as the recommender does with
// each VPA object (routines.processVPAUpdate), without post processors.
func recommend(t trace) (map[string]bounds, error) {
	cluster := model.NewClusterState(time.Hour)
	alike := labels.Set{"app": "web"}
	object := vpatypes.VerticalPodAutoscaler{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "web"}}
	if err := cluster.AddOrUpdateVpa(&object, labels.SelectorFromSet(alike)); err != nil {
		return nil, err
	}
	if err := feed(cluster, t, alike); err != nil {
		return nil, err
	}
	vpa := cluster.VPAs()[model.VpaID{Namespace: namespace, VpaName: "web"}]
	states := vpa.AggregateStateByContainerName()
	for _, state := range states {
		state.UpdateFromPolicy(nil)
	}
	resources := recommender().GetRecommendedPodResources(states)
	printed := logic.MapToListOfRecommendedContainerResources(resources, logic.RecommendationFormat{
		RoundCPUMillicores: 1, RoundMemoryBytes: 1,
	})
	result := map[string]bounds{}
	for _, container := range printed.ContainerRecommendations {
		result[container.ContainerName] = bounds{
			figures(container.Target), figures(container.LowerBound), figures(container.UpperBound),
			figures(container.UncappedTarget),
		}
	}
	return result, nil
}

// recommender has the defaults of pkg/recommender/config/config.go, a package that does not compile with the version of
// client_golang that Prometheus needs.
func recommender() logic.PodResourceRecommender {
	return logic.CreatePodResourceRecommender(logic.RecommendationConfig{
		SafetyMarginFraction:       0.15,
		PodMinCPUMillicores:        25,
		PodMinMemoryMb:             250,
		TargetCPUPercentile:        0.9,
		LowerBoundCPUPercentile:    0.5,
		UpperBoundCPUPercentile:    0.95,
		ConfidenceIntervalCPU:      24 * time.Hour,
		TargetMemoryPercentile:     0.9,
		LowerBoundMemoryPercentile: 0.5,
		UpperBoundMemoryPercentile: 0.95,
		ConfidenceIntervalMemory:   24 * time.Hour,
	})
}

// feed adds samples in the order of time, pods in the order of their names, and the kills of a moment after its
// samples, as cluster_feeder does.
func feed(cluster model.ClusterState, t trace, alike labels.Set) error {
	type moment struct {
		id      model.ContainerID
		request model.ResourceAmount
		sample  sample
	}
	moments := map[int64][]moment{}
	for _, pod := range slices.Sorted(maps.Keys(t.Pods)) {
		id := model.PodID{Namespace: namespace, PodName: pod}
		cluster.AddOrUpdatePod(id, alike, corev1.PodRunning)
		for _, name := range slices.Sorted(maps.Keys(t.Pods[pod])) {
			container := t.Pods[pod][name]
			request := model.ResourceAmount(container.Request)
			id := model.ContainerID{PodID: id, ContainerName: name}
			if err := cluster.AddOrUpdateContainer(id, model.Resources{model.ResourceMemory: request}); err != nil {
				return err
			}
			for _, sample := range t.samples(container) {
				moments[sample.at] = append(moments[sample.at], moment{id, request, sample})
			}
		}
	}
	for _, at := range slices.Sorted(maps.Keys(moments)) {
		for _, moment := range moments[at] {
			for name, usage := range usage(t, moment.sample) {
				added := model.ContainerUsageSample{MeasureStart: time.UnixMilli(at), Usage: usage, Resource: name}
				key := model.ContainerUsageSampleWithKey{ContainerUsageSample: added, Container: moment.id}
				if err := cluster.AddSample(&key); err != nil {
					return fmt.Errorf("%v at %d: %w", moment.id, at, err)
				}
			}
		}
		for _, moment := range moments[at] {
			if !moment.sample.killed {
				continue
			}
			// A second kill in an interval that needs no more memory than the first is no sample, which is no error here.
			_ = cluster.RecordOOM(moment.id, time.UnixMilli(at), moment.request)
		}
	}
	return nil
}

// usage is what the recommender makes of what metrics-server says: billionths of a core, and bytes.
func usage(t trace, s sample) map[model.ResourceName]model.ResourceAmount {
	cpu := resource.NewScaledQuantity(s.cpu*1_000_000/t.Step, resource.Nano)
	memory := resource.NewQuantity(s.memory, resource.BinarySI)
	return map[model.ResourceName]model.ResourceAmount{
		model.ResourceCPU:    model.ResourceAmount(cpu.MilliValue()),
		model.ResourceMemory: model.ResourceAmount(memory.Value()),
	}
}

func figures(list corev1.ResourceList) amount {
	return amount{list.Cpu().MilliValue(), list.Memory().Value()}
}
