// The baseline: an ext_proc server on grpc-go that does what our server does in the same leg, and nothing else.
//
// With -header it sets one header; without, it answers that nothing changes. In both cases it tells Envoy, as ours does,
// that the response is not wanted, so that Envoy sends one message for each request.
package main

import (
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"os/signal"
	"syscall"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	filterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

const largest = 4 << 20 // bytes of one message

// answers are made once: the server does no work but the transport's.
type server struct {
	extprocv3.UnimplementedExternalProcessorServer
	headers *extprocv3.ProcessingResponse
}

func newServer(header bool) *server {
	common := &extprocv3.CommonResponse{}
	if header {
		option := &corev3.HeaderValueOption{Header: &corev3.HeaderValue{Key: "x-bench", RawValue: []byte("set by the bench")}}
		common.HeaderMutation = &extprocv3.HeaderMutation{SetHeaders: []*corev3.HeaderValueOption{option}}
	}
	return &server{headers: &extprocv3.ProcessingResponse{
		Response: &extprocv3.ProcessingResponse_RequestHeaders{RequestHeaders: &extprocv3.HeadersResponse{Response: common}},
		ModeOverride: &filterv3.ProcessingMode{
			RequestHeaderMode:   filterv3.ProcessingMode_SEND,
			ResponseHeaderMode:  filterv3.ProcessingMode_SKIP,
			RequestTrailerMode:  filterv3.ProcessingMode_SKIP,
			ResponseTrailerMode: filterv3.ProcessingMode_SKIP,
		},
	}}
}

// Process answers each message before it reads the next.
func (s *server) Process(stream extprocv3.ExternalProcessor_ProcessServer) error {
	for {
		request, err := stream.Recv()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		answer, err := s.answer(request)
		if err != nil {
			return err
		}
		if err := stream.Send(answer); err != nil {
			return err
		}
	}
}

func (s *server) answer(request *extprocv3.ProcessingRequest) (*extprocv3.ProcessingResponse, error) {
	switch request.Request.(type) {
	case *extprocv3.ProcessingRequest_RequestHeaders:
		return s.headers, nil
	case *extprocv3.ProcessingRequest_ResponseHeaders:
		return &extprocv3.ProcessingResponse{Response: &extprocv3.ProcessingResponse_ResponseHeaders{ResponseHeaders: &extprocv3.HeadersResponse{}}}, nil
	case *extprocv3.ProcessingRequest_RequestBody:
		return &extprocv3.ProcessingResponse{Response: &extprocv3.ProcessingResponse_RequestBody{RequestBody: &extprocv3.BodyResponse{}}}, nil
	case *extprocv3.ProcessingRequest_ResponseBody:
		return &extprocv3.ProcessingResponse{Response: &extprocv3.ProcessingResponse_ResponseBody{ResponseBody: &extprocv3.BodyResponse{}}}, nil
	case *extprocv3.ProcessingRequest_RequestTrailers:
		return &extprocv3.ProcessingResponse{Response: &extprocv3.ProcessingResponse_RequestTrailers{RequestTrailers: &extprocv3.TrailersResponse{}}}, nil
	case *extprocv3.ProcessingRequest_ResponseTrailers:
		return &extprocv3.ProcessingResponse{Response: &extprocv3.ProcessingResponse_ResponseTrailers{ResponseTrailers: &extprocv3.TrailersResponse{}}}, nil
	}
	return nil, status.Errorf(codes.FailedPrecondition, "a message of a kind that is not known")
}

func serve(path string, header bool) error {
	listener, err := net.Listen("unix", path)
	if err != nil {
		return fmt.Errorf("cannot listen on %s: %w", path, err)
	}
	grpcServer := grpc.NewServer(grpc.MaxRecvMsgSize(largest), grpc.MaxSendMsgSize(largest))
	extprocv3.RegisterExternalProcessorServer(grpcServer, newServer(header))
	healthv1.RegisterHealthServer(grpcServer, health.NewServer())
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGTERM, syscall.SIGINT)
	go func() {
		<-ended
		grpcServer.Stop()
	}()
	return grpcServer.Serve(listener)
}

func main() {
	path := flag.String("socket", "", "the Unix socket to listen on")
	header := flag.Bool("header", false, "set one header")
	flag.Parse()
	if *path == "" {
		fmt.Fprintln(os.Stderr, "write -socket with the path of a Unix socket")
		os.Exit(2)
	}
	if err := serve(*path, *header); err != nil {
		log.Fatal(err)
	}
}
