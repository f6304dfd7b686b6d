package main

import "github.com/gogo/protobuf/proto"

// The messages of the guest's services, written down a second time, from the contract and not from our .proto files.

type imagePullRequest struct {
	ImageURL   string `protobuf:"bytes,1,opt,name=image_url,proto3"`
	BundlePath string `protobuf:"bytes,2,opt,name=bundle_path,proto3"`
}

type imagePullResponse struct {
	ManifestDigest string `protobuf:"bytes,1,opt,name=manifest_digest,proto3"`
}

type getResourceRequest struct {
	ResourcePath string `protobuf:"bytes,1,opt,name=ResourcePath,proto3"`
}

type getResourceResponse struct {
	Resource []byte `protobuf:"bytes,1,opt,name=Resource,proto3"`
}

type unsealSecretInput struct {
	Secret []byte `protobuf:"bytes,1,opt,name=secret,proto3"`
}

type unsealSecretOutput struct {
	Plaintext []byte `protobuf:"bytes,1,opt,name=plaintext,proto3"`
}

type keyProviderMessage struct {
	KeyProviderKeyWrapProtocol []byte `protobuf:"bytes,1,opt,name=KeyProviderKeyWrapProtocolInput,proto3"`
}

type secureMountRequest struct {
	VolumeType string            `protobuf:"bytes,1,opt,name=volume_type,proto3"`
	Options    map[string]string `protobuf:"bytes,2,rep,name=options,proto3" protobuf_key:"bytes,1,opt,name=key,proto3" protobuf_val:"bytes,2,opt,name=value,proto3"`
	Flags      []string          `protobuf:"bytes,3,rep,name=flags,proto3"`
	MountPoint string            `protobuf:"bytes,4,opt,name=mount_point,proto3"`
}

type empty struct{}

type extendRequest struct {
	Domain        string  `protobuf:"bytes,1,opt,name=Domain,proto3"`
	Operation     string  `protobuf:"bytes,2,opt,name=Operation,proto3"`
	Content       string  `protobuf:"bytes,3,opt,name=Content,proto3"`
	RegisterIndex *uint64 `protobuf:"varint,4,opt,name=RegisterIndex"`
}

type extendResponse struct {
	Result int32 `protobuf:"varint,1,opt,name=Result,proto3"`
}

func (m *imagePullRequest) Reset()            { *m = imagePullRequest{} }
func (m *imagePullRequest) String() string    { return proto.CompactTextString(m) }
func (*imagePullRequest) ProtoMessage()       {}
func (m *imagePullResponse) Reset()           { *m = imagePullResponse{} }
func (m *imagePullResponse) String() string   { return proto.CompactTextString(m) }
func (*imagePullResponse) ProtoMessage()      {}
func (m *getResourceRequest) Reset()          { *m = getResourceRequest{} }
func (m *getResourceRequest) String() string  { return proto.CompactTextString(m) }
func (*getResourceRequest) ProtoMessage()     {}
func (m *getResourceResponse) Reset()         { *m = getResourceResponse{} }
func (m *getResourceResponse) String() string { return proto.CompactTextString(m) }
func (*getResourceResponse) ProtoMessage()    {}
func (m *unsealSecretInput) Reset()           { *m = unsealSecretInput{} }
func (m *unsealSecretInput) String() string   { return proto.CompactTextString(m) }
func (*unsealSecretInput) ProtoMessage()      {}
func (m *unsealSecretOutput) Reset()          { *m = unsealSecretOutput{} }
func (m *unsealSecretOutput) String() string  { return proto.CompactTextString(m) }
func (*unsealSecretOutput) ProtoMessage()     {}
func (m *keyProviderMessage) Reset()          { *m = keyProviderMessage{} }
func (m *keyProviderMessage) String() string  { return proto.CompactTextString(m) }
func (*keyProviderMessage) ProtoMessage()     {}
func (m *secureMountRequest) Reset()          { *m = secureMountRequest{} }
func (m *secureMountRequest) String() string  { return proto.CompactTextString(m) }
func (*secureMountRequest) ProtoMessage()     {}
func (m *empty) Reset()                       { *m = empty{} }
func (m *empty) String() string               { return "" }
func (*empty) ProtoMessage()                  {}
func (m *extendRequest) Reset()               { *m = extendRequest{} }
func (m *extendRequest) String() string       { return proto.CompactTextString(m) }
func (*extendRequest) ProtoMessage()          {}
func (m *extendResponse) Reset()              { *m = extendResponse{} }
func (m *extendResponse) String() string      { return proto.CompactTextString(m) }
func (*extendResponse) ProtoMessage()         {}
