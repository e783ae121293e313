# The exporter as one static binary in an empty image; `make image` builds it.

# The binary is made on the builder's own platform for the image's: Go needs no emulation for that.
FROM --platform=$BUILDPLATFORM golang:1.26 AS build
WORKDIR /src
# Before the rest, so that a change of code does not fetch the modules again.
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG TARGETOS
ARG TARGETARCH
ARG VERSION=unknown
ARG REVISION=unknown
ARG BRANCH=unknown
ARG BUILD_DATE=unknown
ENV GOOS=$TARGETOS GOARCH=$TARGETARCH
RUN make build licences VERSION="$VERSION" REVISION="$REVISION" BRANCH="$BRANCH" BUILD_DATE="$BUILD_DATE"

# Nothing but the binary, the authorities that sign the certificates of caches and brokers, and the licences.
FROM scratch
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="cacheinv_exporter" \
      org.opencontainers.image.description="Tells Prometheus whether the copies of cached keys agree, and why not." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.source="https://github.com/cacheinv/cacheinv_exporter" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /src/licences /licences
COPY --from=build /src/cacheinv_exporter /bin/cacheinv_exporter
# The default --config.file is cacheinv.yml in here.
WORKDIR /etc/cacheinv_exporter
# By number: where root is refused (runAsNonRoot), a name cannot be checked.
USER 65532:65532
EXPOSE 10120
ENTRYPOINT ["/bin/cacheinv_exporter"]
