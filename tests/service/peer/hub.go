package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io/ioutil"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/containerd/ttrpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// hubServer is the confidential-data-hub and the attestation agent as far as the contract goes.
type hubServer struct {
	resources string // directory: repository/type/tag
	eventLog  string // file that measurements are appended to
	extend    int    // result of ExtendRuntimeMeasurement
	mu        sync.Mutex
}

func (h *hubServer) getResource(_ context.Context, unmarshal func(interface{}) error) (interface{}, error) {
	var request getResourceRequest
	if err := unmarshal(&request); err != nil {
		return nil, err
	}
	name := strings.TrimPrefix(request.ResourcePath, "kbs:///")
	switch {
	case strings.HasSuffix(name, "/slow"):
		time.Sleep(30 * time.Second)
	case strings.HasSuffix(name, "/huge"):
		return &getResourceResponse{Resource: bytes.Repeat([]byte("x"), 4<<20-64)}, nil
	}
	content, err := ioutil.ReadFile(filepath.Join(h.resources, filepath.Clean("/"+name)))
	if err != nil {
		return nil, status.Errorf(codes.Internal, "[CDH] [ERROR]: Get Resource failed: %s", name)
	}
	return &getResourceResponse{Resource: content}, nil
}

func (h *hubServer) unsealSecret(_ context.Context, unmarshal func(interface{}) error) (interface{}, error) {
	var request unsealSecretInput
	if err := unmarshal(&request); err != nil {
		return nil, err
	}
	plain := make([]byte, len(request.Secret))
	for i, b := range request.Secret {
		plain[len(plain)-1-i] = b
	}
	return &unsealSecretOutput{Plaintext: plain}, nil
}

func (h *hubServer) extendMeasurement(_ context.Context, unmarshal func(interface{}) error) (interface{}, error) {
	var request extendRequest
	if err := unmarshal(&request); err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.eventLog != "" {
		file, err := os.OpenFile(h.eventLog, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0600)
		if err != nil {
			return nil, err
		}
		defer file.Close()
		line, _ := json.Marshal([]string{request.Domain, request.Operation, request.Content})
		fmt.Fprintln(file, string(line))
	}
	return &extendResponse{Result: int32(h.extend)}, nil
}

func hub(arguments []string) error {
	h := &hubServer{}
	flags := flag.NewFlagSet("hub", flag.ExitOnError)
	listen := flags.String("listen", "", "socket path")
	config := flags.String("c", "", "a confidential-data-hub's configuration, whose socket is served")
	flags.StringVar(&h.resources, "resources", "/nonexistent", "directory of resources")
	flags.StringVar(&h.eventLog, "event-log", "", "file for measurements")
	flags.IntVar(&h.extend, "extend-result", 0, "answer to ExtendRuntimeMeasurement")
	flags.Parse(arguments)
	if *config != "" {
		text, err := ioutil.ReadFile(*config)
		if err != nil {
			return err
		}
		for _, line := range strings.Split(string(text), "\n") {
			if strings.HasPrefix(line, "socket = \"unix://") {
				*listen = strings.TrimSuffix(strings.TrimPrefix(line, "socket = \"unix://"), "\"")
			}
		}
	}
	os.Remove(*listen)
	listener, err := net.Listen("unix", *listen)
	if err != nil {
		return err
	}
	server, err := ttrpc.NewServer()
	if err != nil {
		return err
	}
	echo := func(_ context.Context, unmarshal func(interface{}) error) (interface{}, error) {
		var request keyProviderMessage
		err := unmarshal(&request)
		return &request, err
	}
	mount := func(_ context.Context, unmarshal func(interface{}) error) (interface{}, error) {
		var request secureMountRequest
		err := unmarshal(&request)
		return &empty{}, err
	}
	// What the real one would do if a pull ever reached it.
	insecure := func(_ context.Context, unmarshal func(interface{}) error) (interface{}, error) {
		return &imagePullResponse{ManifestDigest: "pulled behind the policy's back"}, nil
	}
	server.Register("api.GetResourceService", map[string]ttrpc.Method{"GetResource": h.getResource})
	server.Register("api.SealedSecretService", map[string]ttrpc.Method{"UnsealSecret": h.unsealSecret})
	server.Register("api.SecureMountService", map[string]ttrpc.Method{"SecureMount": mount})
	server.Register("api.ImagePullService", map[string]ttrpc.Method{"PullImage": insecure})
	server.Register("keyprovider.KeyProviderService", map[string]ttrpc.Method{"UnWrapKey": echo})
	server.Register("attestation_agent.AttestationAgentService",
		map[string]ttrpc.Method{"ExtendRuntimeMeasurement": h.extendMeasurement})
	return server.Serve(context.Background(), listener)
}
