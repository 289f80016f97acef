# Knarr's image: docker build -t knarr .
# No BuildKit needed.
FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
# A panic tells its file and line all the same, and the binary is a quarter of the size.
ENV CARGO_PROFILE_RELEASE_DEBUG=false
RUN cargo build --release --locked --package knarr-cli --bin knarr

FROM debian:bookworm-slim
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --system --uid 10001 --user-group --no-create-home --home-dir /data knarr \
 && install -d -m 0700 -o knarr -g knarr /data
COPY --from=build /src/target/release/knarr /usr/local/bin/knarr
# By number, so that a platform can see that it is not root.
USER 10001:10001
WORKDIR /data
VOLUME /data
# Listening beyond loopback wants KNARR_ADMIN_TOKEN, or KNARR_ADMIN_TOKEN_FILE.
ENV KNARR_DATA_DIR=/data \
    KNARR_LISTEN=0.0.0.0:7300 \
    KNARR_SERVER=http://127.0.0.1:7300
EXPOSE 7300
# Asked by bash itself: the image needs no client for it.
HEALTHCHECK --interval=5s --timeout=5s --start-period=60s --retries=6 \
  CMD ["bash", "-c", "exec 3<>\"/dev/tcp/127.0.0.1/${KNARR_LISTEN##*:}\" && printf 'GET /health/ready HTTP/1.0\\r\\n\\r\\n' >&3 && read -r _ status _ <&3 && test \"$status\" = 200"]
ENTRYPOINT ["knarr"]
CMD ["serve"]
