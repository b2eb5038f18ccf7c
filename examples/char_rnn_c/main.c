/* Trains the model of model.nn on any text, and writes some of its own: ./char_rnn input.txt [passes over the text]

   The text is cut into CHAR_RNN_BATCH streams that are read side by side, CHAR_RNN_LENGTH bytes a step; the carry takes the hidden state from one
   chunk of a stream to the next. After every pass the parameters are saved, and 300 bytes are drawn from what the model expects. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "generated/char_rnn.h"

enum { LARGEST = 1 << 26, SAMPLE = 300 };
static unsigned char text[LARGEST];
static int64_t x[CHAR_RNN_BATCH][CHAR_RNN_LENGTH], y[CHAR_RNN_BATCH][CHAR_RNN_LENGTH], now[CHAR_RNN_BATCH];
static real p[CHAR_RNN_BATCH][CHAR_RNN_V];

/* A byte drawn with the probabilities of the first stream. */
static int drawn(void)
{
    double u = rand() / (RAND_MAX + 1.0);
    int byte = 0;
    while (byte < CHAR_RNN_V - 1 && (u -= (double)p[0][byte]) >= 0) byte++;
    return byte;
}

static void sample(void)
{
    static char_rnn_memory memory;
    char_rnn_start(&memory);
    now[0] = '\n';
    for (int k = 0; k < SAMPLE; k++) {
        char_rnn_step(now, p, &memory);
        now[0] = drawn();
        putchar((int)now[0]);
    }
    puts("\n");
}

/* One pass over streams of so many bytes: the average loss, in nats a byte. */
static double pass(size_t bytes)
{
    static const char_rnn_carry begin;
    static char_rnn_carry carry;
    const size_t chunks = (bytes - 1) / CHAR_RNN_LENGTH;
    double total = 0;
    carry = begin;
    for (size_t chunk = 0; chunk < chunks; chunk++) {
        for (size_t b = 0; b < CHAR_RNN_BATCH; b++)
            for (size_t t = 0; t < CHAR_RNN_LENGTH; t++) {
                const unsigned char *at = text + b * bytes + chunk * CHAR_RNN_LENGTH + t;
                x[b][t] = at[0];
                y[b][t] = at[1];
            }
        total += (double)char_rnn_train_step(x, y, &carry);
    }
    return total / (double)chunks;
}

int main(int count, char **argument)
{
    if (count < 2) {
        fprintf(stderr, "usage: %s TEXT [PASSES]\n", argument[0]);
        return 1;
    }
    FILE *file = fopen(argument[1], "rb");
    if (!file) {
        perror(argument[1]);
        return 1;
    }
    const size_t size = fread(text, 1, LARGEST, file), bytes = size / CHAR_RNN_BATCH;
    const int passes = count > 2 ? atoi(argument[2]) : 10;
    if (fgetc(file) != EOF) fprintf(stderr, "%s is longer than %d bytes; the rest is not read\n", argument[1], LARGEST);
    fclose(file);
    if (passes < 1) {
        fprintf(stderr, "PASSES is a whole number from 1 on, not %s\n", argument[2]);
        return 1;
    }
    if (bytes <= CHAR_RNN_LENGTH) {
        fprintf(stderr, "%s has %zu bytes, and %d streams need more than %d each: compile with -DBATCH=4 -DLENGTH=16\n",
                argument[1], size, CHAR_RNN_BATCH, CHAR_RNN_LENGTH);
        return 1;
    }
    char_rnn_init(0);
    for (int k = 1; k <= passes; k++) {
        const clock_t start = clock();
        const double loss = pass(bytes), seconds = (double)(clock() - start) / CLOCKS_PER_SEC;
        printf("pass %d: %.3f nats a byte, %.1f s, %.2f ms a step\n", k, loss, seconds,
               1000 * seconds / (double)((bytes - 1) / CHAR_RNN_LENGTH));
        sample();
        if (!char_rnn_save("char_rnn.bin")) perror("char_rnn.bin");
    }
    return 0;
}
