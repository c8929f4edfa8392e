# What Go functions run in: no Go, only Nimbus's runner. Build context: the runner's folder as `runner/`.
# `manage.py build_runtimes go1.24` builds it.
FROM debian:trixie-slim

# First, so that every layer of ours can be told from other people's images.
LABEL nimbus.image=runtime

COPY runner/ /opt/nimbus/source/
# In one step with the compiler's coming and going, so that it is in no layer. apt's settings may be those of the
# machine that builds (its mirror, its proxy): user code must not find them.
RUN set -eux; \
    export DEBIAN_FRONTEND=noninteractive; \
    apt-get update; \
    apt-get install -y --no-install-recommends tini ca-certificates; \
    wanted=$(apt-mark showmanual); \
    apt-get install -y --no-install-recommends golang-1.24-go; \
    cd /opt/nimbus/source; \
    CGO_ENABLED=0 GOTOOLCHAIN=local GOCACHE=/tmp/cache \
        /usr/lib/go-1.24/bin/go build -trimpath -buildvcs=false -ldflags '-s -w -buildid=' -o ../runner ./runner; \
    cd /; \
    apt-mark auto '.*' >/dev/null; \
    apt-mark manual $wanted >/dev/null; \
    apt-get purge -y --auto-remove golang-1.24-go; \
    rm -rf /opt/nimbus/source /tmp/cache /root/.cache /root/.config \
        /etc/apt /var/lib/apt/* /var/cache/* /var/log/* /usr/share/doc/* /usr/share/man/* /usr/share/locale/*; \
    find / -xdev -type f -perm /6000 -exec chmod a-s {} +; \
    mkdir -p /var/task /run/nimbus

ENV LANG=C.UTF-8
USER 65532:65532
WORKDIR /var/task
# tini reaps what user code leaves behind and gives signals their usual meaning.
ENTRYPOINT ["tini", "--", "/opt/nimbus/runner"]
