# Node.js 20 and Nimbus's runner. Build context: the runner's folder as `runner/`. `manage.py build_runtimes nodejs20` builds it.
FROM debian:trixie-slim

# First, so that every layer of ours can be told from other people's images.
LABEL nimbus.image=runtime

# apt's settings may be those of the machine that builds (its mirror, its proxy): user code must not find them.
RUN set -eux; \
    export DEBIAN_FRONTEND=noninteractive; \
    apt-get update; \
    apt-get install -y --no-install-recommends nodejs tini ca-certificates; \
    rm -rf /etc/apt /var/lib/apt/* /var/cache/* /var/log/* /usr/share/doc/* /usr/share/man/* /usr/share/locale/*; \
    find / -xdev -type f -perm /6000 -exec chmod a-s {} +; \
    mkdir -p /var/task /run/nimbus /opt/nimbus; \
    node --version | grep -F 'v20.'

COPY runner/ /opt/nimbus/

ENV LANG=C.UTF-8
USER 65532:65532
WORKDIR /var/task
# tini reaps what user code leaves behind and gives signals their usual meaning.
# A heap limit is set at start and a prewarmed sandbox may be given more memory later: the container's limit is the one that counts.
ENTRYPOINT ["tini", "--", "node", "--max-old-space-size=3072", "/opt/nimbus/runner.js"]
