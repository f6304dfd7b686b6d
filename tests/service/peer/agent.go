package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"flag"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sort"
	"sync"
	"syscall"
	"time"

	"github.com/containerd/ttrpc"
	"google.golang.org/grpc/status"
)

type outcome struct {
	Code    int     `json:"code"`
	Message string  `json:"message"`
	Digest  string  `json:"digest,omitempty"`
	Reply   string  `json:"reply,omitempty"` // hex
	Seconds float64 `json:"seconds"`
}

func dial(socket string) (*ttrpc.Client, error) {
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return nil, err
	}
	return ttrpc.NewClient(conn), nil
}

func outcomeOf(err error, start time.Time) outcome {
	result := outcome{Seconds: time.Since(start).Seconds()}
	if err != nil {
		result.Code, result.Message = int(status.Code(err)), err.Error()
		if s, ok := status.FromError(err); ok {
			result.Message = s.Message()
		}
	}
	return result
}

func pullOnce(client *ttrpc.Client, image, bundle string, timeout time.Duration) outcome {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	var response imagePullResponse
	start := time.Now()
	err := client.Call(ctx, "api.ImagePullService", "PullImage", &imagePullRequest{image, bundle}, &response)
	result := outcomeOf(err, start)
	result.Digest = response.ManifestDigest
	return result
}

func pull(arguments []string) error {
	flags := flag.NewFlagSet("pull", flag.ExitOnError)
	socket := flags.String("socket", "", "")
	timeout := flags.Duration("timeout", 1200*time.Second, "")
	flags.Parse(arguments)
	client, err := dial(*socket)
	if err != nil {
		return err
	}
	return report(pullOnce(client, flags.Arg(0), flags.Arg(1), *timeout))
}

// call is any unary call; the request is given in hex.
func call(arguments []string) error {
	flags := flag.NewFlagSet("call", flag.ExitOnError)
	socket := flags.String("socket", "", "")
	timeout := flags.Duration("timeout", 50*time.Second, "")
	flags.Parse(arguments)
	client, err := dial(*socket)
	if err != nil {
		return err
	}
	payload, err := hex.DecodeString(flags.Arg(2))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), *timeout)
	defer cancel()
	start := time.Now()
	// Field 1 of every message is bytes or a string, so one message type fits all.
	var reply keyProviderMessage
	err = client.Call(ctx, flags.Arg(0), flags.Arg(1), &keyProviderMessage{payload}, &reply)
	result := outcomeOf(err, start)
	result.Reply = hex.EncodeToString(reply.KeyProviderKeyWrapProtocol)
	return report(result)
}

// container is what kata-agent does for one container, in its order.
func container(client *ttrpc.Client, bundle, image string) (float64, error) {
	if err := os.MkdirAll(bundle, 0755); err != nil {
		return 0, err
	}
	result := pullOnce(client, image, bundle, 60*time.Second)
	if result.Code != 0 {
		os.RemoveAll(bundle)
		return 0, fmt.Errorf("pull: %d %s", result.Code, result.Message)
	}
	rootfs := filepath.Join(bundle, "rootfs")
	// Large enough that memory which is not given back shows.
	if err := os.WriteFile(filepath.Join(rootfs, "written"), make([]byte, 256<<10), 0644); err != nil {
		return 0, fmt.Errorf("use: %w", err)
	}
	if err := os.WriteFile(filepath.Join(bundle, "config.json"), []byte("{}"), 0644); err != nil {
		return 0, err
	}
	if err := syscall.Unmount(rootfs, syscall.MNT_DETACH); err != nil {
		return 0, fmt.Errorf("umount: %w", err)
	}
	// A second mount below would be visible now, and would not let itself be removed.
	return result.Seconds, os.RemoveAll(bundle)
}

func relayed(client *ttrpc.Client, number int) error {
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Second)
	defer cancel()
	secret := []byte(fmt.Sprintf("sealed.secret.%d", number))
	var plain unsealSecretOutput
	err := client.Call(ctx, "api.SealedSecretService", "UnsealSecret", &unsealSecretInput{secret}, &plain)
	if err != nil {
		return fmt.Errorf("unseal: %w", err)
	}
	for i, b := range plain.Plaintext {
		if secret[len(secret)-1-i] != b {
			return fmt.Errorf("unseal: another request's answer")
		}
	}
	var resource getResourceResponse
	err = client.Call(ctx, "api.GetResourceService", "GetResource", &getResourceRequest{"kbs:///default/key/one"}, &resource)
	if err != nil {
		return fmt.Errorf("resource: %w", err)
	}
	if !bytes.Equal(resource.Resource, []byte("the resource\n")) {
		return fmt.Errorf("resource: %q", resource.Resource)
	}
	return nil
}

func agent(arguments []string) error {
	flags := flag.NewFlagSet("agent", flag.ExitOnError)
	socket := flags.String("socket", "", "")
	bundles := flags.String("bundles", "", "directory for bundles")
	image := flags.String("image", "", "")
	count := flags.Int("count", 100, "")
	parallel := flags.Int("parallel", 8, "")
	relay := flags.Bool("relay", false, "relayed calls in between")
	flags.Parse(arguments)
	client, err := dial(*socket)
	if err != nil {
		return err
	}
	var (
		wait     sync.WaitGroup
		mu       sync.Mutex
		seconds  []float64
		failures []string
		numbers  = make(chan int)
	)
	note := func(taken float64, err error) {
		mu.Lock()
		defer mu.Unlock()
		if err != nil {
			failures = append(failures, err.Error())
		} else if taken > 0 {
			seconds = append(seconds, taken)
		}
	}
	for i := 0; i < *parallel; i++ {
		wait.Add(1)
		go func() {
			defer wait.Done()
			for number := range numbers {
				if *relay {
					note(0, relayed(client, number))
				}
				note(container(client, filepath.Join(*bundles, fmt.Sprintf("c%d-%d", os.Getpid(), number)), *image))
			}
		}()
	}
	for i := 0; i < *count; i++ {
		numbers <- i
	}
	close(numbers)
	wait.Wait()
	sort.Float64s(seconds)
	median := 0.0
	if len(seconds) > 0 {
		median = seconds[len(seconds)/2]
	}
	return report(map[string]interface{}{"succeeded": len(seconds), "failures": failures, "medianSeconds": median})
}
