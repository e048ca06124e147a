# syntax=docker/dockerfile:1

FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION
RUN CGO_ENABLED=0 go build -trimpath -ldflags="-s -w -X github.com/taskfeed/taskfeed/internal/cli.version=${VERSION}" -o /out/taskfeed ./cmd/taskfeed

# The server makes TLS connections, to Postgres and to a key set, so it needs the
# certificates of authorities; the image has these and no shell.
FROM gcr.io/distroless/static-debian12:nonroot
ARG VERSION
LABEL org.opencontainers.image.title="taskfeed" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.source="https://github.com/taskfeed/taskfeed" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /out/taskfeed /usr/local/bin/taskfeed
USER nonroot:nonroot
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s CMD ["/usr/local/bin/taskfeed", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/taskfeed"]
CMD ["serve"]
