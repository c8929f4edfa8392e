# Go 1.24 and Nimbus's builder. Build context: `builder/` (the builder's program) and `runner/` (what is compiled into
# handlers). `manage.py build_runtimes builder-go` builds it.
FROM debian:trixie-slim

# First, so that every layer of ours can be told from other people's images.
LABEL nimbus.image=builder

RUN set -eux; \
    export DEBIAN_FRONTEND=noninteractive; \
    apt-get update; \
    apt-get install -y --no-install-recommends golang-1.24-go ca-certificates; \
    rm -rf /etc/apt /var/lib/apt/* /var/cache/* /var/log/* /usr/share/doc/* /usr/share/man/* /usr/share/locale/* \
        /usr/share/go-1.24/test /usr/share/go-1.24/api; \
    find / -xdev -type f -perm /6000 -exec chmod a-s {} +; \
    /usr/lib/go-1.24/bin/go version | grep -F 'go1.24'

# A GOROOT of our own, so that `import "nimbus"` is found like the standard library, with and without vendor/; it links
# to Debian's. Then the standard library is compiled as functions will ask for it: their builds only add their own.
COPY runner/ /opt/nimbus/runner/
COPY builder/ /opt/nimbus/builder/
ENV CGO_ENABLED=0 GOTOOLCHAIN=local GOFLAGS=-buildvcs=false
RUN set -eux; \
    cd /opt/nimbus; \
    mkdir -p go/src/nimbus; \
    for entry in /usr/lib/go-1.24/*; do [ "${entry##*/}" = src ] || ln -s "$entry" go/; done; \
    ln -s /usr/share/go-1.24/src/* go/src/; \
    cp runner/nimbus.go go/src/nimbus/; \
    cp -r runner/wire runner/logs runner/crash runner/shim go/src/nimbus/; \
    export GOROOT=/opt/nimbus/go GOCACHE=/opt/nimbus/cache; \
    go/bin/go build -trimpath std nimbus/...; \
    (cd builder && GOCACHE=/tmp/cache ../go/bin/go build -trimpath -ldflags '-s -w' -o ../build .); \
    rm -rf runner builder /tmp/cache /root/.cache /root/.config; \
    chmod -R a+rX /opt/nimbus; \
    mkdir -m 1777 /work

ENV LANG=C.UTF-8
USER 65532:65532
WORKDIR /work
ENTRYPOINT ["/opt/nimbus/build"]
