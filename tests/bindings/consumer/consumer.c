/* Quantizes a few numbers, sends them through a stream, and says what it found. */
#include <qstep.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int complain(void) {
    fprintf(stderr, "consumer: %s\n", qstep_last_error());
    return 1;
}

int main(void) {
    enum { count = 1000 };
    const qstep_option options[] = {{"quant", "standard"}, {"levels", "8"}, {"bucket-size", "100"}};
    float in[count], rounded[count], decoded[count];
    double variance = 0.0;
    int64_t room = 0, written = 0;
    qstep_codec* codec = NULL;
    void* stream;
    for (int i = 0; i < count; ++i) in[i] = (float)(i % 37) / 37.0f;
    if (qstep_codec_create(options, 3, &codec) != QSTEP_OK) return complain();
    if (qstep_quantize(codec, in, count, 0, NULL, rounded, &variance) != QSTEP_OK) return complain();
    if (qstep_stream_bytes(codec, count, &room) != QSTEP_OK) return complain();
    stream = malloc((size_t)room);
    if (stream == NULL) return 1;
    if (qstep_encode(codec, in, count, 0, NULL, stream, room, &written, NULL) != QSTEP_OK) return complain();
    if (qstep_decode(stream, written, 0, decoded, count) != QSTEP_OK) return complain();
    free(stream);
    qstep_codec_destroy(codec);
    printf("qstep %s: %d floats in %d bytes, variance %.6f\n", qstep_version(), count, (int)written, variance);
    /* A header of 64 bytes, then of each of ten buckets two words and 100 codes of 3 bits. */
    return written == 64 + 10 * (8 + 38) && variance > 0.0 && memcmp(rounded, decoded, sizeof rounded) == 0 ? 0 : 1;
}
