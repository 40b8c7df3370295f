# syntax=docker/dockerfile:1
# One program, no shell, no root. docs/privileges.md says how to run it.

FROM rust:1.95-slim-bookworm AS build
RUN apt-get update \
 && apt-get install --yes --no-install-recommends cmake g++ make \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /build
COPY Cargo.toml Cargo.lock ./
COPY src src
RUN cargo build --release --locked --bin genesys-proxy

FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /build/target/release/genesys-proxy /usr/bin/genesys-proxy
USER 65532:65532
EXPOSE 8080 8081
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/bin/genesys-proxy"]
CMD ["serve"]
