# Rust and C to WebAssembly, and wasmtime to compile that ahead of time. Build context: the builder's program as `builder/`, the runner's folder as `runner/`, the wheels that it lists as `wheels/`. `manage.py build_runtimes builder-wasm` builds it.
FROM debian:trixie-slim

# First, so that every layer of ours can be told from other people's images.
LABEL nimbus.image=builder

COPY builder/crates.toml /tmp/crates/Cargo.toml
# One layer: cargo and the C compiler that rustc brings are needed to compile serde, and gone when it ends.
# apt's settings may be those of the machine that builds (its mirror, its proxy): user code must not find them.
RUN set -eux; \
    export DEBIAN_FRONTEND=noninteractive; \
    apt-get update; \
    apt-get install -y --no-install-recommends \
        python3 rustc libstd-rust-dev-wasm32 clang-19 wasi-libc libclang-rt-19-dev-wasm32 lld-19; \
    apt-get install -y --no-install-recommends cargo librust-serde-json-dev librust-serde+derive-dev; \
    cd /tmp/crates; \
    touch crates.rs; \
    mkdir .cargo /opt/nimbus /opt/nimbus/crates; \
    printf '[source.crates-io]\nreplace-with = "debian"\n[source.debian]\ndirectory = "/usr/share/cargo/registry"\n' >.cargo/config.toml; \
    cargo build --offline --release --target wasm32-wasip1; \
    cp target/wasm32-wasip1/release/deps/*.rlib target/release/deps/libserde_derive-*.so /opt/nimbus/crates; \
    rm /opt/nimbus/crates/libcrates-*; \
    dpkg --purge --force-depends cargo gcc gcc-14 gcc-14-x86-64-linux-gnu cpp cpp-14 cpp-14-x86-64-linux-gnu gcc-x86-64-linux-gnu cpp-x86-64-linux-gnu; \
    rm -rf /tmp/crates /root/.cargo /usr/share/cargo /usr/lib/rustlib/wasm32-unknown-unknown /usr/lib/rustlib/wasm32-wasip2 \
        /usr/lib/wasm32-wasip2 /usr/lib/rustlib/x86_64-unknown-linux-gnu/lib/*.rlib; \
    rm -rf /etc/apt /var/lib/apt/* /var/cache/* /var/log/* /usr/share/doc/* /usr/share/man/* /usr/share/locale/*; \
    find / -xdev -type f -perm /6000 -exec chmod a-s {} +

COPY wheels/ /tmp/wheels/
# A wheel is a zip of what is to be imported. Bytecode, because the root is read-only when it runs.
RUN set -eux; \
    for wheel in /tmp/wheels/*.whl; do python3 -m zipfile -e "$wheel" /opt/nimbus/lib; done; \
    rm -rf /tmp/wheels; \
    python3 -m compileall -q --invalidation-mode unchecked-hash /opt/nimbus

COPY runner/ /opt/nimbus/runner/
COPY builder/ /opt/nimbus/builder/
# The folder that a build's own tmpfs takes the place of, and its rights from.
RUN python3 -m compileall -q --invalidation-mode unchecked-hash /opt/nimbus/runner /opt/nimbus/builder; mkdir -m 1777 /work

ENV LANG=C.UTF-8 PATH=/usr/lib/llvm-19/bin:/usr/local/bin:/usr/bin:/bin PYTHONPATH=/opt/nimbus/lib TMPDIR=/work HOME=/work
USER 65532:65532
WORKDIR /work
ENTRYPOINT ["python3", "-u", "/opt/nimbus/builder/build.py"]
